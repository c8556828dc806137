//! Probabilities of rows of scores.

use burn::tensor::{DType, Tensor};

/// The parts of a softmax of rows, as the sampler for host memory computes it: exponentials in f32,
/// their sum as wide as the device can.
pub(super) struct Softmax {
    /// The largest score of each row, `[rows, 1]`.
    max: Tensor<2>,
    /// The sum of the exponentials of what scores are below it, `[rows, 1]`.
    sum: Tensor<2>,
}

impl Softmax {
    /// Of scores `[rows, columns]`, f32, whose exponentials are added up in the format `wide`.
    pub(super) fn of(scores: &Tensor<2>, wide: DType) -> Self {
        let max = scores.clone().max_dim(1);
        let sum = (scores.clone() - max.clone()).exp().cast(wide);
        Self {
            max,
            sum: sum.sum_dim(1),
        }
    }

    /// Probabilities of scores, f32.
    pub(super) fn probabilities(&self, scores: Tensor<2>) -> Tensor<2> {
        (scores - self.max.clone()).exp() / self.sum.clone().cast(DType::F32)
    }

    /// Log-probabilities of scores in nats, f32.
    pub(super) fn logps(&self, scores: Tensor<2>) -> Tensor<2> {
        (scores - self.max.clone()) - self.sum.clone().log().cast(DType::F32)
    }
}
