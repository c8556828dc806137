//! Norms of rows.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use tch::Tensor as Native;

use crate::libtorch::{self, Torch, shim};
use crate::transformer_layer::weights::NormWeights;

/// What the gradient needs.
#[derive(Clone, Debug)]
pub(super) struct SavedNorm {
    x: Torch,
    /// Of a layer norm.
    mean: Option<Torch>,
    /// One over the standard deviations or the root mean squares.
    scale: Torch,
    weights: NormWeights<Torch>,
}

/// Rows after a norm and, where it is to be kept, what the gradient needs.
pub(super) fn norm(
    x: &Torch,
    weights: &NormWeights<Torch>,
    epsilon: f64,
    keep: bool,
) -> (Native, Option<SavedNorm>) {
    let (gamma, beta) = (&weights.gamma.tensor, weights.beta.as_ref());
    let (normed, mean, scale) = match beta {
        Some(beta) => {
            let (gamma, beta) = (Some(gamma), Some(&beta.tensor));
            let (normed, mean, scale) =
                x.tensor
                    .native_layer_norm(weights.gamma.tensor.size(), gamma, beta, epsilon);
            (normed, Some(mean), Some(scale))
        }
        None => {
            let (normed, scale) = shim::rms_norm(&x.tensor, Some(gamma), epsilon, keep);
            (normed, None, scale)
        }
    };
    let saved = keep.then(|| SavedNorm {
        x: x.clone(),
        mean: mean.map(libtorch::fresh),
        scale: libtorch::fresh(shim::written(scale)),
        weights: weights.clone(),
    });
    (normed, saved)
}

impl SavedNorm {
    /// The gradients of the rows and of the weights that are wanted.
    pub(super) fn backward(
        &self,
        grad: &Native,
        wanted: &NormWeights<bool>,
    ) -> (Native, NormWeights<Option<Torch>>) {
        let (x, scale) = (&self.x.tensor, &self.scale.tensor);
        let gamma = &self.weights.gamma.tensor;
        let (of_x, of_gamma, of_beta) = match (&self.mean, &self.weights.beta) {
            (Some(mean), Some(beta)) => {
                let weights = [gamma, &beta.tensor];
                let of = [wanted.gamma, wanted.beta == Some(true)];
                let [of_x, of_gamma, of_beta] =
                    shim::layer_norm_backward(grad, x, [&mean.tensor, scale], weights, of);
                (of_x, of_gamma, of_beta)
            }
            _ => {
                let [of_x, of_gamma] = shim::rms_norm_backward(grad, x, scale, gamma, wanted.gamma);
                (of_x, of_gamma, None)
            }
        };
        let of_weights = NormWeights {
            gamma: of_gamma.map(libtorch::fresh),
            beta: wanted.beta.map(|_| of_beta.map(libtorch::fresh)),
        };
        (shim::written(of_x), of_weights)
    }
}
