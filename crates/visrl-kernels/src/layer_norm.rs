//! Layer norm (arXiv 1607.06450).

use burn::nn::LayerNorm;
use burn::tensor::Tensor;

#[cfg(feature = "flex")]
use super::{
    flex::{self, Fused, Host},
    slices,
};

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta` for each row of `x`; `epsilon` is that of
/// `norm`, which does not tell it.
#[cfg_attr(not(feature = "flex"), allow(unused_variables))]
pub fn layer_norm(norm: &LayerNorm, epsilon: f64, x: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(beta) = &norm.beta {
        let (gamma, beta) = (norm.gamma.val().into_dispatch(), beta.val().into_dispatch());
        return match flex::run(&Layer(epsilon as f32), [x.into_dispatch(), gamma, beta]) {
            Ok(output) => output,
            Err([x, ..]) => norm.forward(Tensor::from_dispatch(x)),
        };
    }
    norm.forward(x)
}

#[cfg(feature = "flex")]
#[derive(Clone, Debug)]
struct Layer(f32);

#[cfg(feature = "flex")]
impl Layer {
    /// The mean of a row and one over its standard deviation.
    #[inline(always)]
    fn moments(&self, row: &[f32]) -> (f32, f32) {
        let len = row.len() as f32;
        let mean = slices::sum(
            row,
            #[inline(always)]
            |x| x,
        ) / len;
        let variance = slices::sum(
            row,
            #[inline(always)]
            |x| (x - mean) * (x - mean),
        ) / len;
        (mean, 1.0 / (variance + self.0).sqrt())
    }
}

#[cfg(feature = "flex")]
impl Fused<3> for Layer {
    type Saved = [Host; 2];

    fn forward(&self, [x, gamma, beta]: [Host; 3]) -> Host {
        let mut x = flex::owned(x);
        let (gamma, beta) = (flex::in_order(gamma), flex::in_order(beta));
        let (gamma, beta) = (flex::read(&gamma), flex::read(&beta));
        let width = flex::width(&x);
        slices::rows1(
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
        (self.forward(inputs), [x, gamma])
    }

    /// With z the normed row, s its scale and e = d y gamma,
    /// `d x = s (e - mean(e) - z mean(e z))`, `d gamma = sum(d y z)` and `d beta = sum(d y)`.
    fn backward(&self, [x, gamma]: [Host; 2], grad: Host, _: [bool; 3]) -> [Host; 3] {
        let (x, mut gamma) = (flex::in_order(x), flex::owned(gamma));
        let mut grad = flex::owned(grad);
        let width = flex::width(&x);
        let values = flex::read(&x);
        let grads = flex::read(&grad);
        let d_gamma = slices::column_sums(
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
        let d_beta = slices::column_sums(width, grads, slices::add_row);
        let weights = flex::read(&gamma);
        slices::rows2(
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
                    let of_mean = slices::sum(
                        d,
                        #[inline(always)]
                        |d| d,
                    ) / width as f32;
                    let of_scale = slices::sum2(
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
        [grad, gamma, beta]
    }
}
