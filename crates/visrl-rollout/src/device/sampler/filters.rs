//! Top-k, top-p, min-p and typical-p, by the rules of the sampler for host memory. What a filter
//! takes out scores minus infinity.

use burn::tensor::{Bool, DType, Int, Tensor};

use super::softmax::Softmax;

/// Takes out what scores less than the k-th largest, `[rows, 1]`.
pub(super) fn keep_top_k(scores: Tensor<2>, kth: Tensor<2>) -> Tensor<2> {
    let below = scores.clone().lower(kth);
    scores.mask_fill(below, f32::NEG_INFINITY)
}

/// Drops the least likely tokens as long as they sum to at most `mass`, `[rows, 1]`; of equally
/// likely ones, those with higher ids first. The most likely token always stays.
pub(super) fn keep_top_p(scores: Tensor<2>, mass: Tensor<2>, wide: DType) -> Tensor<2> {
    let [_, columns] = scores.dims();
    let softmax = Softmax::of(&scores, wide);
    let sorted = scores.clone().sort(1);
    let weights = softmax.probabilities(sorted.clone()).cast(wide);
    // As f32, so that sums that are equal by the numbers' short forms are.
    let sums = weights.cumsum(1).cast(DType::F32);
    let dropped = count(sums.lower_equal(mass)).clamp_max(columns as i64 - 1);
    let cut = sorted.clone().gather(1, dropped.clone());
    let kept_of_equals = count(sorted.lower_equal(cut.clone())) - dropped;
    let equal = scores.clone().equal(cut.clone());
    let number = equal.clone().float().cumsum(1);
    let beyond = number.greater(kept_of_equals.float().cast(DType::F32));
    let out = scores.clone().lower(cut).bool_or(equal.bool_and(beyond));
    scores.mask_fill(out, f32::NEG_INFINITY)
}

/// Keeps tokens with at least this share, `[rows, 1]`, of the most likely one's probability.
pub(super) fn keep_min_p(scores: Tensor<2>, share: Tensor<2>, wide: DType) -> Tensor<2> {
    let probabilities = Softmax::of(&scores, wide).probabilities(scores.clone());
    let least = probabilities.clone().max_dim(1) * share;
    scores.mask_fill(probabilities.lower(least), f32::NEG_INFINITY)
}

/// Keeps the tokens whose surprise is nearest to the entropy and which sum to `mass`, `[rows, 1]`,
/// with all that are as near as the last of them.
pub(super) fn keep_typical_p(scores: Tensor<2>, mass: Tensor<2>, wide: DType) -> Tensor<2> {
    let [_, columns] = scores.dims();
    let softmax = Softmax::of(&scores, wide);
    let (p, logps) = (
        softmax.probabilities(scores.clone()),
        softmax.logps(scores.clone()),
    );
    // What has no probability adds nothing, however far off it is.
    let terms = logps.clone().cast(wide) * p.clone().cast(wide);
    let terms = terms.mask_fill(p.clone().equal_elem(0.0), 0.0);
    let entropy = terms.sum_dim(1).neg().cast(DType::F32);
    let distance = (logps.neg() - entropy).abs();
    let (sorted, order) = distance.clone().sort_with_indices(1);
    let sums = p.gather(1, order).cast(wide).cumsum(1);
    let before = count(sums.cast(DType::F32).lower(mass)).clamp_max(columns as i64 - 1);
    let furthest = sorted.gather(1, before);
    scores.mask_fill(distance.greater(furthest), f32::NEG_INFINITY)
}

/// How many of each row are true, `[rows, 1]`.
pub(super) fn count(mask: Tensor<2, Bool>) -> Tensor<2, Int> {
    mask.int().sum_dim(1)
}
