//! The tokens that a draw looks at.

use burn::tensor::{Int, Tensor};

use super::row_settings::TopK;

/// Tokens beyond the k likeliest that are looked at, for those that tie with the last of them.
const SPARE: usize = 64;

/// Tokens of each row in the order of their ids: all, or the likeliest.
pub(super) struct Window {
    /// Their scores, `[rows, tokens]`.
    pub(super) scores: Tensor<2>,
    /// Their ids, `[rows, tokens]`; nothing where all are there.
    ids: Option<Tensor<2, Int>>,
    /// The k-th largest score of each row, `[rows, 1]`, where top-k is asked for.
    pub(super) kth: Option<Tensor<2>>,
    /// 1 for rows in which tokens that tie with the k-th may be missing, `[rows, 1]`.
    pub(super) is_short: Option<Tensor<2>>,
}

impl Window {
    /// The whole vocabulary.
    pub(super) fn whole(scores: Tensor<2>, top_k: Option<&TopK>) -> Self {
        let kth = top_k.map(|top_k| {
            let largest = scores.clone().topk(top_k.largest, 1);
            let kth = largest.gather(1, top_k.place.clone());
            match &top_k.unlimited {
                Some(unlimited) => kth.mask_fill(unlimited.clone(), f32::NEG_INFINITY),
                None => kth,
            }
        });
        Self {
            scores,
            ids: None,
            kth,
            is_short: None,
        }
    }

    /// The likeliest tokens, with room for ties; the whole vocabulary where it is not larger.
    pub(super) fn likeliest(scores: Tensor<2>, top_k: &TopK) -> Self {
        let [_, vocab] = scores.dims();
        let width = top_k.largest + SPARE;
        if width >= vocab {
            return Self::whole(scores, Some(top_k));
        }
        let ids = scores.clone().argtopk(width, 1).sort(1);
        let scores = scores.gather(1, ids.clone());
        let kth = scores.clone().topk(top_k.largest, 1);
        let kth = kth.gather(1, top_k.place.clone());
        // Where the last one is taken by top-k, others may tie with it.
        let least = scores.clone().min_dim(1);
        let is_there = least.clone().greater_elem(f32::NEG_INFINITY);
        let is_short = least.equal(kth.clone()).bool_and(is_there).float();
        Self {
            scores,
            ids: Some(ids),
            kth: Some(kth),
            is_short: Some(is_short),
        }
    }

    /// The ids of places, `[rows, 1]`.
    pub(super) fn ids(&self, places: Tensor<2, Int>) -> Tensor<2, Int> {
        match &self.ids {
            Some(ids) => ids.clone().gather(1, places),
            None => places,
        }
    }
}
