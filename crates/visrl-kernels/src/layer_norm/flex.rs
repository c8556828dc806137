//! The norm over slices.

use burn::backend::Flex;

use super::op::Standardize;
use crate::flex::{self, Host};
use crate::forms::Fused;
use crate::{parallel, simd};

impl Standardize {
    /// The mean of a row and one over its standard deviation.
    #[inline(always)]
    fn moments(&self, row: &[f32]) -> (f32, f32) {
        let len = row.len() as f32;
        let mean = simd::sum(
            row,
            #[inline(always)]
            |x| x,
        ) / len;
        let variance = simd::sum(
            row,
            #[inline(always)]
            |x| (x - mean) * (x - mean),
        ) / len;
        (mean, 1.0 / (variance + self.epsilon as f32).sqrt())
    }
}

impl Fused<Flex, 3> for Standardize {
    type Saved = [Host; 2];

    fn forward(&self, [x, gamma, beta]: [Host; 3]) -> Host {
        let mut x = flex::owned(x);
        let (gamma, beta) = (flex::in_order(gamma), flex::in_order(beta));
        let (gamma, beta) = (flex::read(&gamma), flex::read(&beta));
        let width = flex::width(&x);
        parallel::for_rows(
            width,
            x.storage_mut(),
            #[inline(always)]
            |_, rows| {
                for row in rows.chunks_exact_mut(width) {
                    let (mean, scale) = self.moments(row);
                    for ((x, gamma), beta) in row.iter_mut().zip(gamma).zip(beta) {
                        *x = (*x - mean) * scale * gamma + beta;
                    }
                }
            },
        );
        x
    }

    fn forward_saving(&self, inputs: [Host; 3]) -> (Host, [Host; 2]) {
        let [x, gamma, _] = inputs.clone();
        (Fused::<Flex, 3>::forward(self, inputs), [x, gamma])
    }

    fn saved(&self, [x, gamma, _]: [Host; 3]) -> [Host; 2] {
        [x, gamma]
    }

    /// With z the normed row, s its scale and e = d y gamma,
    /// `d x = s (e - mean(e) - z mean(e z))`, `d gamma = sum(d y z)` and `d beta = sum(d y)`.
    fn backward(&self, [x, gamma]: [Host; 2], grad: Host, _: [bool; 3]) -> [Option<Host>; 3] {
        let (x, mut gamma) = (flex::in_order(x), flex::owned(gamma));
        let mut grad = flex::owned(grad);
        let width = flex::width(&x);
        let values = flex::read(&x);
        let grads = flex::read(&grad);
        let d_gamma = parallel::column_sums(
            width,
            values,
            #[inline(always)]
            |sums, x, row| {
                let (mean, scale) = self.moments(x);
                for ((sum, d), x) in sums.iter_mut().zip(&grads[row * width..]).zip(x) {
                    *sum += d * (x - mean) * scale;
                }
            },
        );
        let d_beta = parallel::column_sums(width, grads, parallel::add_row);
        let weights = flex::read(&gamma);
        parallel::for_rows_with(
            width,
            grad.storage_mut(),
            values,
            #[inline(always)]
            |_, d, x| {
                let rows = d.chunks_exact_mut(width).zip(x.chunks_exact(width));
                for (d, x) in rows {
                    let (mean, scale) = self.moments(x);
                    for (d, gamma) in d.iter_mut().zip(weights) {
                        *d *= gamma;
                    }
                    let of_mean = simd::sum(
                        d,
                        #[inline(always)]
                        |d| d,
                    ) / width as f32;
                    let of_scale = simd::sum_of_pairs(
                        d,
                        x,
                        #[inline(always)]
                        |d, x| d * (x - mean),
                    ) * scale
                        / width as f32;
                    for (d, x) in d.iter_mut().zip(x) {
                        *d = scale * (*d - of_mean - (x - mean) * scale * of_scale);
                    }
                }
            },
        );
        let mut beta = flex::owned(gamma.clone());
        gamma.storage_mut().copy_from_slice(&d_gamma);
        beta.storage_mut().copy_from_slice(&d_beta);
        [grad, gamma, beta].map(Some)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Param, ParamId};
    use burn::nn::{LayerNorm, LayerNormConfig};
    use burn::tensor::{Device, Tensor};
    use proptest::prelude::*;

    use super::super::op::layer_norm;
    use super::*;
    use crate::testing::{compare, has_form};

    fn norm(gamma: Tensor<2>, beta: Tensor<2>) -> LayerNorm {
        let [_, width] = gamma.dims();
        let mut norm = LayerNormConfig::new(width)
            .with_epsilon(1e-6)
            .init(&Device::flex());
        norm.gamma = Param::initialized(ParamId::new(), gamma.squeeze_dim(0));
        norm.beta = Some(Param::initialized(ParamId::new(), beta.squeeze_dim(0)));
        norm
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// In rows of fewer numbers these may be so nearly equal that f32 tells little of their norm.
        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, rows in 1usize..20, columns in 8usize..70, scale in 0.1f32..10.0,
        ) {
            let shapes = [(rows, columns, scale), (1, columns, 2.0), (1, columns, 2.0)];
            compare(
                shapes,
                seed,
                1e-4,
                |[x, gamma, beta]| layer_norm(&norm(gamma, beta), 1e-6, x),
                |[x, gamma, beta]| norm(gamma, beta).forward(x),
            );
            let op = Standardize { epsilon: 1e-6 };
            has_form(&op, shapes.map(|(rows, columns, _)| (rows, columns)));
        }
    }
}
