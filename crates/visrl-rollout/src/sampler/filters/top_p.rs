//! Top-p, also called nucleus sampling (Holtzman et al., "The curious case of neural text
//! degeneration", arXiv 1904.09751).

use crate::sampler::candidates::Candidates;
use crate::sampler::{select, vector};

/// Drops the least likely tokens as long as they sum to at most `1 - top_p`; of equally likely
/// ones, those with higher ids first. The most likely token always stays.
pub(in crate::sampler) fn keep_top_p(candidates: &mut Candidates, top_p: f64) {
    if top_p >= 1.0 || candidates.normalize().is_none() {
        return;
    }
    let limit = (1.0 - top_p) as f32;
    let crossed = |sum| sum > limit;
    let max = vector::max(&candidates.scores);
    let range = (max - candidates.reach(limit), max);
    let Candidates {
        scores,
        probabilities,
        keys,
        ..
    } = candidates;
    if let Some(cut) = select::first_crossing(scores, probabilities, range, keys, crossed) {
        candidates.retain(|place, score, _| select::key(score, place) >= cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nucleus_stays() {
        let kept = |top_p| {
            let mut candidates = Candidates::of(&[1.0, 3.0, 2.0, 3.0, -1.0]);
            keep_top_p(&mut candidates, top_p);
            candidates.ids
        };
        // Probabilities .06, .40, .15, .40, .01.
        assert_eq!(kept(0.75), [1, 3]);
        assert_eq!(kept(1e-9), [1], "one stays");
        assert_eq!(kept(1.0), [0, 1, 2, 3, 4]);
    }
}
