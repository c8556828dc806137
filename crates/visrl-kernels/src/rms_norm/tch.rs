//! The norm in LibTorch's operators.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use super::op::RootMeanSquare;
use crate::forms::Fused;
use crate::libtorch::{self, LibTorch, Torch, shim};

impl Fused<LibTorch, 2> for RootMeanSquare {
    /// The inputs and one over the root mean squares.
    type Saved = [Torch; 3];

    fn forward(&self, [x, gamma]: [Torch; 2]) -> Torch {
        let (y, _) = shim::rms_norm(&x.tensor, Some(&gamma.tensor), self.epsilon, false);
        libtorch::fresh(y)
    }

    fn forward_saving(&self, [x, gamma]: [Torch; 2]) -> (Torch, [Torch; 3]) {
        let (y, scale) = shim::rms_norm(&x.tensor, Some(&gamma.tensor), self.epsilon, true);
        let scale = libtorch::fresh(shim::written(scale));
        (libtorch::fresh(y), [x, gamma, scale])
    }

    fn backward(
        &self,
        [x, gamma, scale]: [Torch; 3],
        grad: Torch,
        wanted: [bool; 2],
    ) -> [Option<Torch>; 2] {
        let (grad, x, scale, gamma) = (&grad.tensor, &x.tensor, &scale.tensor, &gamma.tensor);
        shim::rms_norm_backward(grad, x, scale, gamma, wanted[1]).map(|of| of.map(libtorch::fresh))
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Param, ParamId};
    use burn::nn::{RmsNorm, RmsNormConfig};
    use burn::tensor::{DType, Tensor};

    use super::super::op::rms_norm;
    use super::*;
    use crate::forms::run;
    use crate::libtorch::testing::{compare, device};

    fn norm(gamma: Tensor<2>) -> RmsNorm {
        let [_, width] = gamma.dims();
        let mut norm = RmsNormConfig::new(width).with_epsilon(1e-6).init(&device());
        norm.gamma = Param::initialized(ParamId::new(), gamma.squeeze_dim(0));
        norm
    }

    #[test]
    fn equals_the_plain_form() {
        for (seed, rows, columns) in [(1, 1, 2), (2, 7, 33), (3, 40, 64)] {
            let shapes = [(rows, columns, 3.0), (1, columns, 2.0)];
            compare(
                shapes,
                seed,
                |[x, gamma]| rms_norm(&norm(gamma), x),
                |[x, gamma]| norm(gamma).forward(x),
            );
            let op = RootMeanSquare {
                epsilon: 1e-6,
                dtype: DType::F32,
            };
            let rows = Tensor::<2>::ones([rows, columns], &device()).into_dispatch();
            let gamma = Tensor::<1>::ones([columns], &device()).into_dispatch();
            assert!(run::<2, 2, _>(&op, [rows, gamma]).is_ok());
        }
    }
}
