//! Root mean square norm (arXiv 1910.07467).

use burn::nn::RmsNorm;
use burn::tensor::Tensor;

#[cfg(feature = "flex")]
use super::{
    flex::{self, Fused, Host},
    slices,
};

/// `x / sqrt(mean(x^2) + epsilon) * gamma` for each row of `x`.
pub fn rms_norm(norm: &RmsNorm, x: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    {
        let op = Rms(norm.epsilon as f32);
        match flex::run(&op, [x.into_dispatch(), norm.gamma.val().into_dispatch()]) {
            Ok(output) => output,
            Err([x, _]) => norm.forward(Tensor::from_dispatch(x)),
        }
    }
    #[cfg(not(feature = "flex"))]
    norm.forward(x)
}

#[cfg(feature = "flex")]
#[derive(Clone, Debug)]
struct Rms(f32);

#[cfg(feature = "flex")]
impl Rms {
    /// One over the root mean square of a row.
    #[inline(always)]
    fn scale(&self, row: &[f32]) -> f32 {
        let mean = slices::sum(
            row,
            #[inline(always)]
            |x| x * x,
        ) / row.len() as f32;
        1.0 / (mean + self.0).sqrt()
    }
}

#[cfg(feature = "flex")]
impl Fused<2> for Rms {
    type Saved = [Host; 2];

    fn forward(&self, [x, gamma]: [Host; 2]) -> Host {
        let (mut x, gamma) = (flex::owned(x), flex::in_order(gamma));
        let (width, gamma) = (flex::width(&x), flex::read(&gamma));
        slices::rows1(
            width,
            x.storage_mut(),
            #[inline(always)]
            |_, rows| {
                for row in rows.chunks_exact_mut(width) {
                    let scale = self.scale(row);
                    for (x, gamma) in row.iter_mut().zip(gamma) {
                        *x *= scale * gamma;
                    }
                }
            },
        );
        x
    }

    fn forward_saving(&self, inputs: [Host; 2]) -> (Host, [Host; 2]) {
        let saved = inputs.clone();
        (self.forward(inputs), saved)
    }

    /// With s the scale of a row of n numbers and e = d y gamma,
    /// `d x = s (e - x s^2 sum(e x) / n)` and `d gamma = sum over rows of (d y x s)`.
    fn backward(&self, [x, gamma]: [Host; 2], grad: Host, _: [bool; 2]) -> [Host; 2] {
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
                let scale = self.scale(x);
                for ((sum, d), x) in sums.iter_mut().zip(&grads[row * width..]).zip(x) {
                    *sum += d * x * scale;
                }
            },
        );
        let weights = flex::read(&gamma);
        slices::rows2(
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
                    let share = slices::sum2(
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
        [grad, gamma]
    }
}
