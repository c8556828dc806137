//! Min-p (Nguyen et al., "Turning up the heat: min-p sampling", arXiv 2407.01082).

use crate::sampler::candidates::Candidates;
use crate::sampler::vector;

/// Keeps tokens with at least this share of the most likely one's probability.
pub(in crate::sampler) fn keep_min_p(candidates: &mut Candidates, min_p: f64) {
    if min_p > 0.0 && candidates.normalize().is_some() {
        let least = vector::max(&candidates.probabilities) * (min_p.min(1.0) as f32);
        candidates.retain(|_, _, probability| probability >= least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_the_most_likely() {
        let kept = |min_p| {
            let mut candidates = Candidates::of(&[1.0, 3.0, 2.0, 3.0, -1.0]);
            keep_min_p(&mut candidates, min_p);
            candidates.ids
        };
        // Shares e^-2, 1, e^-1, 1, e^-4.
        assert_eq!(kept(0.3), [1, 2, 3]);
        assert_eq!(kept(1.0), [1, 3]);
        assert_eq!(kept(0.0), [0, 1, 2, 3, 4]);
    }
}
