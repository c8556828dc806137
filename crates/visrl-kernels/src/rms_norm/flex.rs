//! The norm over slices.

use burn::backend::Flex;
use burn::tensor::{DType, bf16, f16};

use super::op::RootMeanSquare;
use crate::flex::{self, Host};
use crate::forms::Fused;
use crate::{parallel, simd};

impl RootMeanSquare {
    /// One over the root mean square of a row.
    #[inline(always)]
    fn scale(&self, row: &[f32]) -> f32 {
        let mean = simd::sum(
            row,
            #[inline(always)]
            |x| x * x,
        ) / row.len() as f32;
        1.0 / (mean + self.epsilon as f32).sqrt()
    }
}

impl Fused<Flex, 2> for RootMeanSquare {
    type Saved = [Host; 2];

    fn forward(&self, [x, gamma]: [Host; 2]) -> Host {
        let (mut x, gamma) = (flex::owned(x), flex::in_order(gamma));
        let (width, gamma) = (flex::width(&x), flex::read(&gamma));
        parallel::for_rows(
            width,
            x.storage_mut(),
            #[inline(always)]
            |_, rows| {
                for row in rows.chunks_exact_mut(width) {
                    let scale = self.scale(row);
                    let both = row.iter_mut().zip(gamma);
                    match self.dtype {
                        DType::BF16 => {
                            for (x, gamma) in both {
                                *x = bf16::from_f32(*x * scale).to_f32() * gamma;
                            }
                        }
                        DType::F16 => {
                            for (x, gamma) in both {
                                *x = f16::from_f32(*x * scale).to_f32() * gamma;
                            }
                        }
                        _ => {
                            for (x, gamma) in both {
                                *x *= scale * gamma;
                            }
                        }
                    }
                }
            },
        );
        x
    }

    fn forward_saving(&self, inputs: [Host; 2]) -> (Host, [Host; 2]) {
        let saved = inputs.clone();
        (Fused::<Flex, 2>::forward(self, inputs), saved)
    }

    fn saved(&self, inputs: [Host; 2]) -> [Host; 2] {
        inputs
    }

    /// With s the scale of a row of n numbers and e = d y gamma,
    /// `d x = s (e - x s^2 sum(e x) / n)` and `d gamma = sum over rows of (d y x s)`.
    fn backward(&self, [x, gamma]: [Host; 2], grad: Host, _: [bool; 2]) -> [Option<Host>; 2] {
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
                let scale = self.scale(x);
                for ((sum, d), x) in sums.iter_mut().zip(&grads[row * width..]).zip(x) {
                    *sum += d * x * scale;
                }
            },
        );
        let weights = flex::read(&gamma);
        parallel::for_rows_with(
            width,
            grad.storage_mut(),
            values,
            #[inline(always)]
            |_, d, x| {
                let rows = d.chunks_exact_mut(width).zip(x.chunks_exact(width));
                for (d, x) in rows {
                    let scale = self.scale(x);
                    for (d, gamma) in d.iter_mut().zip(weights) {
                        *d *= gamma;
                    }
                    let share = simd::sum_of_pairs(
                        d,
                        x,
                        #[inline(always)]
                        |d, x| d * x,
                    ) * scale
                        * scale
                        / width as f32;
                    for (d, x) in d.iter_mut().zip(x) {
                        *d = scale * (*d - x * share);
                    }
                }
            },
        );
        gamma.storage_mut().copy_from_slice(&d_gamma);
        [Some(grad), Some(gamma)]
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Param, ParamId};
    use burn::nn::{RmsNorm, RmsNormConfig};
    use burn::tensor::{Device, Tensor};
    use proptest::prelude::*;

    use super::super::op::rms_norm;
    use super::*;
    use crate::testing::{compare, has_form};

    fn norm(gamma: Tensor<2>) -> RmsNorm {
        let [_, width] = gamma.dims();
        let mut norm = RmsNormConfig::new(width)
            .with_epsilon(1e-6)
            .init(&Device::flex());
        norm.gamma = Param::initialized(ParamId::new(), gamma.squeeze_dim(0));
        norm
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, rows in 1usize..20, columns in 2usize..70, scale in 0.1f32..10.0,
        ) {
            let shapes = [(rows, columns, scale), (1, columns, 2.0)];
            compare(
                shapes,
                seed,
                2e-5,
                |[x, gamma]| rms_norm(&norm(gamma), x),
                |[x, gamma]| norm(gamma).forward(x),
            );
            let op = RootMeanSquare { epsilon: 1e-6, dtype: DType::F32 };
            has_form(&op, shapes.map(|(rows, columns, _)| (rows, columns)));
        }
    }
}
