//! The norm in LibTorch's operators.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use tch::{Kind, Tensor as Native};

use super::op::RootMeanSquare;
use crate::forms::Fused;
use crate::libtorch::{self, LibTorch, Torch};

impl Fused<LibTorch, 2> for RootMeanSquare {
    type Saved = [Torch; 2];

    fn forward(&self, [x, gamma]: [Torch; 2]) -> Torch {
        let width = gamma.tensor.size();
        libtorch::fresh(x.tensor.rms_norm(width, Some(&gamma.tensor), self.epsilon))
    }

    fn forward_saving(&self, inputs: [Torch; 2]) -> (Torch, [Torch; 2]) {
        let saved = inputs.clone();
        (Fused::<LibTorch, 2>::forward(self, inputs), saved)
    }

    /// With r one over the root mean square of a row, h = x r and e = d y gamma,
    /// `d x = r (e - h mean(e h))` and `d gamma = sum over rows of (d y h)`, in f32.
    fn backward(
        &self,
        [x, gamma]: [Torch; 2],
        grad: Torch,
        wanted: [bool; 2],
    ) -> [Option<Torch>; 2] {
        let kind = x.tensor.kind();
        let [x, gamma, grad] = [x, gamma, grad].map(|of| of.tensor.to_kind(Kind::Float));
        let mean = |of: Native| of.mean_dim(-1, true, Kind::Float);
        let scale = (mean(x.square()) + self.epsilon).rsqrt();
        let normed = x * &scale;
        let d_gamma = wanted[1].then(|| {
            let sums = (&grad * &normed).sum_dim_intlist(0, false, Kind::Float);
            libtorch::fresh(sums.to_kind(kind))
        });
        let d_x = wanted[0].then(|| {
            let e = grad * gamma;
            let share = &normed * mean(&e * &normed);
            libtorch::fresh(((e - share) * scale).to_kind(kind))
        });
        [d_x, d_gamma]
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Param, ParamId};
    use burn::nn::{RmsNorm, RmsNormConfig};
    use burn::tensor::Tensor;

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
            let op = RootMeanSquare { epsilon: 1e-6 };
            let rows = Tensor::<2>::ones([rows, columns], &device()).into_dispatch();
            let gamma = Tensor::<1>::ones([columns], &device()).into_dispatch();
            assert!(run::<2, 2, _>(&op, [rows, gamma]).is_ok());
        }
    }
}
