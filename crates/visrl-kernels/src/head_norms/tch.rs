//! The norms in LibTorch's operators.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::tensor::Tensor;
use tch::Tensor as Native;

use super::op::HeadNorms;
use crate::heads::Heads;
use crate::libtorch::{self, Torch, shim};

/// What the gradient needs.
#[derive(Clone, Debug)]
pub(crate) struct SavedHeadNorms {
    /// Queries, keys and values as they were.
    before: Torch,
    /// One over the root mean squares of the heads of queries and of keys.
    scales: [Torch; 2],
    gammas: [Torch; 2],
}

/// The heads of queries, keys and values, which lie at the beginning of their memory, `[tokens,
/// heads, dim]` each.
fn views(heads: Heads, qkv: &Native) -> [Native; 3] {
    let [query, kv, dim] = [heads.query, heads.kv, heads.dim].map(|size| size as i64);
    let (tokens, stride) = (qkv.size()[0], (query + 2 * kv) * dim);
    [(0, query), (query, kv), (query + kv, kv)].map(|(start, count)| {
        let (size, strides) = ([tokens, count, dim], [stride, dim, 1]);
        qkv.as_strided(size, strides, start * dim)
    })
}

impl SavedHeadNorms {
    /// Queries, keys and values side by side after the norms and, where it is to be kept, what the
    /// gradient needs. They come in order, at the beginning of their memory.
    pub(crate) fn run(
        heads: Heads,
        qkv: Native,
        gammas: [&Torch; 2],
        epsilon: f64,
        keep: bool,
    ) -> (Native, Option<Self>) {
        let [queries, keys, values] = views(heads, &qkv);
        let [of_queries, of_keys] = gammas;
        let normed = |side: &Native, gamma: &Torch| {
            let (normed, scale) = shim::rms_norm(side, Some(&gamma.tensor), epsilon, keep);
            (normed, scale.map(libtorch::fresh))
        };
        let (queries, scale_1) = normed(&queries, of_queries);
        let (keys, scale_2) = normed(&keys, of_keys);
        let saved = scale_1.zip(scale_2).map(|(scale_1, scale_2)| Self {
            before: libtorch::fresh(qkv),
            scales: [scale_1, scale_2],
            gammas: gammas.map(Clone::clone),
        });
        (
            Native::cat(&[queries, keys, values], 1).flatten(1, 2),
            saved,
        )
    }

    /// Makes the gradient of queries, keys and values after the norms that of those before them, in
    /// place, and gives the gradients of the weights that are wanted.
    pub(crate) fn backward(
        &self,
        heads: Heads,
        grad: &Native,
        wanted: [bool; 2],
    ) -> [Option<Torch>; 2] {
        let before = views(heads, &self.before.tensor);
        let grads = views(heads, grad);
        let mut found = [None, None];
        for (at, (before, mut grad)) in before.iter().zip(grads).take(2).enumerate() {
            let (scale, gamma) = (&self.scales[at].tensor, &self.gammas[at].tensor);
            let [of_rows, of_gamma] =
                shim::rms_norm_backward(&grad, before, scale, gamma, wanted[at]);
            grad.copy_(&shim::written(of_rows));
            found[at] = of_gamma.map(libtorch::fresh);
        }
        found
    }
}

/// The norms where nothing is recorded: of all heads at once, times a row of weights for each.
pub(super) fn run(op: &HeadNorms, qkv: Tensor<2>) -> Result<Tensor<2>, Tensor<2>> {
    if !libtorch::takes(&qkv) || !libtorch::takes(op.weights()) {
        return Err(qkv);
    }
    let [query, kv, dim] = [op.heads.query, op.heads.kv, op.heads.dim].map(|size| size as i64);
    let qkv = libtorch::at_start(libtorch::unwrap(qkv));
    let (size, stride) = ([qkv.size()[0], query + kv, dim], (query + 2 * kv) * dim);
    let turned = qkv.as_strided(size, [stride, dim, 1], 0);
    let (normed, _) = shim::rms_norm(&turned, None, op.norms[0].epsilon, false);
    let weights = libtorch::unwrap(op.weights().clone());
    let _ = normed.mul_out(&turned, &weights.tensor);
    Ok(libtorch::wrap(libtorch::fresh(qkv)))
}

#[cfg(test)]
mod tests {
    use burn::module::{Param, ParamId};
    use burn::nn::RmsNormConfig;
    use burn::tensor::DType;

    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::{device, has_f64};
    use crate::testing::{close, matrix, values};

    #[test]
    fn equals_the_plain_form() {
        let (heads, tokens) = (
            Heads {
                query: 4,
                kv: 2,
                dim: 8,
            },
            5,
        );
        let op = |dtype: DType| {
            let norms = [1, 2].map(|seed| {
                let mut norm = RmsNormConfig::new(8).with_epsilon(1e-6).init(&device());
                let gamma = matrix(seed, 1, 8, 2.0, &device()).cast(DType::BF16);
                let gamma = gamma.cast(dtype).squeeze_dim(0);
                norm.gamma = Param::initialized(ParamId::new(), gamma);
                norm
            });
            HeadNorms::new(heads, norms)
        };
        let make = |dtype: DType| {
            let made = matrix(3, tokens, 64, 2.0, &device());
            made.cast(DType::BF16).cast(dtype)
        };
        let expected = plain::run(&op(DType::F32), make(DType::F32));
        let mut formats = vec![(DType::F32, 1e-6), (DType::BF16, 2e-2)];
        if has_f64() {
            formats.push((DType::F64, 1e-6));
        }
        for (dtype, tolerance) in formats {
            let held = make(dtype);
            let found = run(&op(dtype), held.clone()).unwrap();
            close(&values(found), &values(expected.clone()), tolerance);
            // Someone else holds the input: it must stay as it is.
            assert_eq!(values(held), values(make(dtype)));
        }
    }
}
