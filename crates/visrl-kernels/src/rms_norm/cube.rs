//! The norm in kernels of cubecl.

use super::op::RootMeanSquare;
use crate::cube::norm::{self, Saved};
use crate::cube::{Cube, CubeTensor};
use crate::forms::Fused;

impl Fused<Cube, 2> for RootMeanSquare {
    type Saved = Saved;

    fn forward(&self, inputs: [CubeTensor; 2]) -> CubeTensor {
        Fused::<Cube, 2>::forward_saving(self, inputs).0
    }

    fn forward_saving(&self, [x, gamma]: [CubeTensor; 2]) -> (CubeTensor, Saved) {
        norm::forward(x, gamma, None, self.epsilon)
    }

    fn backward(
        &self,
        saved: Saved,
        grad: CubeTensor,
        wanted: [bool; 2],
    ) -> [Option<CubeTensor>; 2] {
        let (d_x, [d_gamma, _]) = norm::backward(saved, grad, false, [wanted[1], false]);
        [Some(d_x), d_gamma]
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Param, ParamId};
    use burn::nn::{RmsNorm, RmsNormConfig};
    use burn::tensor::{DType, Tensor};
    use proptest::prelude::*;

    use super::super::op::rms_norm;
    use super::super::plain;
    use super::*;
    use crate::cube::testing::{compare, has_form, takes_no_rows};

    fn norm(gamma: Tensor<2>) -> RmsNorm {
        let [_, width] = gamma.dims();
        let mut norm = RmsNormConfig::new(width)
            .with_epsilon(1e-6)
            .init(&gamma.device());
        norm.gamma = Param::initialized(ParamId::new(), gamma.squeeze_dim(0));
        norm
    }

    fn check(seed: u64, rows: usize, columns: usize, scale: f32) {
        compare(
            [(rows, columns, scale), (1, columns, 2.0)],
            seed,
            |[x, gamma]| rms_norm(&norm(gamma), x),
            |[x, gamma]| plain::rms_norm(&norm(gamma), x),
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, rows in 1usize..20, columns in 2usize..70, scale in 0.1f32..10.0,
        ) {
            check(seed, rows, columns, scale);
        }
    }

    /// More columns than units, and more rows than one part of their sum has.
    #[test]
    fn rows_of_all_sizes() {
        for (rows, columns) in [(1, 1), (1, 257), (3, 256), (150, 33), (2500, 2)] {
            check(3, rows, columns, 3.0);
        }
        takes_no_rows([[0, 5], [1, 5]], |[x, gamma]| rms_norm(&norm(gamma), x));
        let op = RootMeanSquare {
            epsilon: 1e-6,
            dtype: DType::F32,
        };
        has_form::<2, _>(&op, |shape| match shape {
            0 => vec![5, 7],
            _ => vec![7],
        });
    }
}
