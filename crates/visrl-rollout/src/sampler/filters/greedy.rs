//! Greedy decoding: the most likely token alone.

use crate::sampler::candidates::Candidates;
use crate::sampler::vector;

/// Keeps the most likely token of the vocabulary; of equally likely ones, the first.
pub(in crate::sampler) fn keep_most_likely(candidates: &mut Candidates) {
    candidates.take_from(vector::max(&candidates.vocabulary));
    candidates.ids.truncate(1);
    candidates.scores.truncate(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_is_kept() {
        let mut candidates = Candidates::of(&[1.0, 3.0, 2.0, 3.0]);
        keep_most_likely(&mut candidates);
        assert_eq!((candidates.ids, candidates.scores), (vec![1], vec![3.0]));
        let mut none = Candidates::of(&[f32::NEG_INFINITY; 2]);
        keep_most_likely(&mut none);
        assert!(none.ids.is_empty());
    }
}
