//! The norm in LibTorch's operators.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use super::op::Standardize;
use crate::forms::Fused;
use crate::libtorch::{self, LibTorch, Torch, shim};

impl Standardize {
    fn norm(&self, [x, gamma, beta]: &[Torch; 3]) -> (Torch, [Torch; 2]) {
        let (weight, bias) = (Some(&gamma.tensor), Some(&beta.tensor));
        let (y, mean, scale) =
            x.tensor
                .native_layer_norm(gamma.tensor.size(), weight, bias, self.epsilon);
        (libtorch::fresh(y), [mean, scale].map(libtorch::fresh))
    }
}

impl Fused<LibTorch, 3> for Standardize {
    /// The inputs, means and scales.
    type Saved = ([Torch; 3], [Torch; 2]);

    fn forward(&self, inputs: [Torch; 3]) -> Torch {
        self.norm(&inputs).0
    }

    fn forward_saving(&self, inputs: [Torch; 3]) -> (Torch, Self::Saved) {
        let (output, moments) = self.norm(&inputs);
        (output, (inputs, moments))
    }

    fn backward(
        &self,
        ([x, gamma, beta], [mean, scale]): Self::Saved,
        grad: Torch,
        wanted: [bool; 3],
    ) -> [Option<Torch>; 3] {
        shim::layer_norm_backward(
            &grad.tensor,
            &x.tensor,
            [&mean.tensor, &scale.tensor],
            [&gamma.tensor, &beta.tensor],
            [wanted[1], wanted[2]],
        )
        .map(|of| of.map(libtorch::fresh))
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Param, ParamId};
    use burn::nn::{LayerNorm, LayerNormConfig};
    use burn::tensor::Tensor;

    use super::super::op::layer_norm;
    use super::*;
    use crate::forms::run;
    use crate::libtorch::testing::{compare, device};

    fn norm(gamma: Tensor<2>, beta: Tensor<2>) -> LayerNorm {
        let [_, width] = gamma.dims();
        let mut norm = LayerNormConfig::new(width)
            .with_epsilon(1e-6)
            .init(&device());
        norm.gamma = Param::initialized(ParamId::new(), gamma.squeeze_dim(0));
        norm.beta = Some(Param::initialized(ParamId::new(), beta.squeeze_dim(0)));
        norm
    }

    #[test]
    fn equals_the_plain_form() {
        for (seed, rows, columns) in [(1, 2, 4), (2, 7, 33), (3, 40, 64)] {
            let weights = (1, columns, 2.0);
            compare(
                [(rows, columns, 3.0), weights, weights],
                seed,
                |[x, gamma, beta]| layer_norm(&norm(gamma, beta), 1e-6, x),
                |[x, gamma, beta]| norm(gamma, beta).forward(x),
            );
            let rows = Tensor::<2>::ones([rows, columns], &device()).into_dispatch();
            let of = || Tensor::<1>::ones([columns], &device()).into_dispatch();
            let op = Standardize { epsilon: 1e-6 };
            assert!(run::<2, 3, _>(&op, [rows, of(), of()]).is_ok());
        }
    }
}
