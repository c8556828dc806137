//! Top-k (Fan et al., "Hierarchical neural story generation", arXiv 1805.04833).

use crate::sampler::candidates::Candidates;
use crate::sampler::select;

/// Takes the k most likely tokens of the vocabulary and all that tie with the last of them; 0
/// takes all.
pub(in crate::sampler) fn keep_top_k(candidates: &mut Candidates, k: usize) {
    let least = select::kth_largest(&candidates.vocabulary, k, &mut candidates.scratch);
    candidates.take_from(least);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_with_the_last_stay() {
        let kept = |k| {
            let mut candidates = Candidates::of(&[1.0, 3.0, 2.0, 3.0, -1.0]);
            keep_top_k(&mut candidates, k);
            candidates.ids
        };
        assert_eq!(kept(1), [1, 3]);
        assert_eq!(kept(3), [1, 2, 3]);
        for all in [0, 5, 6, usize::MAX] {
            assert_eq!(kept(all), [0, 1, 2, 3, 4]);
        }
    }
}
