//! The norm in kernels of cubecl.

use super::op::Standardize;
use crate::cube::norm::{self, Saved};
use crate::cube::{Cube, CubeTensor};
use crate::forms::Fused;

impl Fused<Cube, 3> for Standardize {
    type Saved = Saved;

    fn forward(&self, inputs: [CubeTensor; 3]) -> CubeTensor {
        Fused::<Cube, 3>::forward_saving(self, inputs).0
    }

    fn forward_saving(&self, [x, gamma, beta]: [CubeTensor; 3]) -> (CubeTensor, Saved) {
        norm::forward(x, gamma, Some(beta), self.epsilon)
    }

    fn backward(
        &self,
        saved: Saved,
        grad: CubeTensor,
        wanted: [bool; 3],
    ) -> [Option<CubeTensor>; 3] {
        let (d_x, [d_gamma, d_beta]) = norm::backward(saved, grad, true, [wanted[1], wanted[2]]);
        [Some(d_x), d_gamma, d_beta]
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Param, ParamId};
    use burn::nn::{LayerNorm, LayerNormConfig};
    use burn::tensor::Tensor;
    use proptest::prelude::*;

    use super::super::op::layer_norm;
    use super::*;
    use crate::cube::testing::{compare, has_form};

    fn norm(gamma: Tensor<2>, beta: Tensor<2>) -> LayerNorm {
        let [_, width] = gamma.dims();
        let mut norm = LayerNormConfig::new(width)
            .with_epsilon(1e-6)
            .init(&gamma.device());
        norm.gamma = Param::initialized(ParamId::new(), gamma.squeeze_dim(0));
        norm.beta = Some(Param::initialized(ParamId::new(), beta.squeeze_dim(0)));
        norm
    }

    fn check(seed: u64, rows: usize, columns: usize, scale: f32) {
        let weights = (1, columns, 2.0);
        compare(
            [(rows, columns, scale), weights, weights],
            seed,
            |[x, gamma, beta]| layer_norm(&norm(gamma, beta), 1e-6, x),
            |[x, gamma, beta]| norm(gamma, beta).forward(x),
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// In rows of fewer numbers these may be so nearly equal that f32 tells little of their norm.
        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, rows in 1usize..20, columns in 8usize..70, scale in 0.1f32..10.0,
        ) {
            check(seed, rows, columns, scale);
        }
    }

    /// More columns than units, and more rows than one part of their sum has.
    #[test]
    fn rows_of_all_sizes() {
        for (rows, columns) in [(1, 257), (3, 256), (150, 33), (2500, 8)] {
            check(3, rows, columns, 3.0);
        }
        has_form::<3, _>(&Standardize { epsilon: 1e-6 }, |shape| match shape {
            0 => vec![5, 7],
            _ => vec![7],
        });
    }
}
