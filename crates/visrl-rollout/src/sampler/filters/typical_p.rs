//! Locally typical sampling (Meister et al., arXiv 2202.00666).

use crate::sampler::candidates::Candidates;
use crate::sampler::select;

/// Keeps the tokens whose surprise is nearest to the entropy and which sum to `mass`, with all
/// that are as near as the last of them.
pub(in crate::sampler) fn keep_typical_p(candidates: &mut Candidates, mass: f64) {
    if mass >= 1.0 {
        return;
    }
    let Some(norm) = candidates.normalize() else {
        return;
    };
    let entropy = norm.entropy(&candidates.scores, &candidates.probabilities) as f32;
    let distance = |score: f32| (-norm.logp(score) - entropy).abs();
    let (missing, mass) = ((1.0 - mass) as f32, mass as f32);
    let crossed = |sum| sum >= mass;
    let range = (-1.0, candidates.reach(missing).max(entropy));
    let Candidates {
        scores,
        probabilities,
        scratch,
        keys,
        ..
    } = candidates;
    scratch.clear();
    scratch.extend(scores.iter().map(|&score| distance(score)));
    if let Some(cut) = select::first_crossing(scratch, probabilities, range, keys, crossed) {
        let furthest = select::rank(cut);
        candidates.retain(|_, score, _| select::rank(select::key(distance(score), 0)) <= furthest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearest_to_the_entropy_stays() {
        let kept = |mass| {
            let mut candidates = Candidates::of(&[1.0, 3.0, 2.0, 3.0, -1.0]);
            keep_typical_p(&mut candidates, mass);
            candidates.ids
        };
        // Probabilities .06, .40, .15, .40, .01 and entropy 1.2: surprise .9 is nearest.
        assert_eq!(kept(0.5), [1, 3]);
        assert_eq!(kept(0.9), [1, 2, 3]);
        assert_eq!(kept(1.0), [0, 1, 2, 3, 4]);
    }
}
