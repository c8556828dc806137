//! One step of AdamW (arXiv 1711.05101) in one pass over memory.

use burn::tensor::Tensor;

/// The numbers of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Decay rates of the two moments.
    pub betas: [f32; 2],
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// The learning rate.
    pub learning_rate: f64,
    /// The number of this step, from 1.
    pub time: usize,
}

/// Parameters, first and second moments, in this order.
pub type Moved = [Tensor<1>; 3];

/// Moves flattened parameters and their moments by a gradient, all of one length.
///
/// # Errors
/// The tensors as they were, where they are not untracked f32 tensors of the flex backend: then
/// burn's optimizer does the same in tensor operations.
#[allow(clippy::result_large_err)] // What could not be used is given back whole.
pub fn adamw(step: &AdamWStep, state: Moved, gradient: &Tensor<1>) -> Result<Moved, Moved> {
    #[cfg(feature = "flex")]
    {
        flex_step(step, state, gradient)
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = (step, gradient);
        Err(state)
    }
}

#[cfg(feature = "flex")]
#[allow(clippy::result_large_err)] // What could not be used is given back whole.
fn flex_step(step: &AdamWStep, state: Moved, gradient: &Tensor<1>) -> Result<Moved, Moved> {
    use super::{flex, slices};

    let Some(gradient) = flex::plain(gradient) else {
        return Err(state);
    };
    let plain: Vec<_> = state.iter().filter_map(flex::plain).collect();
    let Ok(plain) = <[flex::Host; 3]>::try_from(plain) else {
        return Err(state);
    };
    drop(state);
    let [mut values, mut first, mut second] = plain.map(flex::owned);
    let gradient = flex::in_order(gradient);
    let AdamWStep {
        betas: [beta_1, beta_2],
        epsilon,
        ..
    } = *step;
    let time = i32::try_from(step.time).unwrap_or(i32::MAX);
    let corrections = [beta_1, beta_2].map(|beta| 1.0 - beta.powi(time));
    let rate = step.learning_rate as f32;
    let kept = (1.0 - step.learning_rate * f64::from(step.weight_decay)) as f32;
    slices::rows4(
        values.storage_mut(),
        first.storage_mut(),
        second.storage_mut(),
        flex::read(&gradient),
        #[inline(always)]
        |w, m, v, g| {
            for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
                *m = *m * beta_1 + g * (1.0 - beta_1);
                *v = *v * beta_2 + g * g * (1.0 - beta_2);
                let (m, v) = (*m / corrections[0], *v / corrections[1]);
                *w = *w * kept - m / (v.sqrt() + epsilon) * rate;
            }
        },
    );
    Ok([values, first, second].map(flex::tensor))
}

/// The sum of the squares of a tensor's numbers, where it is an untracked f32 tensor of the flex
/// backend.
pub fn sum_of_squares(tensor: &Tensor<1>) -> Option<f64> {
    #[cfg(feature = "flex")]
    {
        use super::{flex, slices};
        use rayon::prelude::*;

        let tensor = flex::in_order(flex::plain(tensor)?);
        let parts = flex::read(&tensor).par_chunks(1 << 14);
        let sums: Vec<f32> = parts
            .map(|part| {
                slices::vectorized(
                    #[inline(always)]
                    || {
                        slices::sum(
                            part,
                            #[inline(always)]
                            |x| x * x,
                        )
                    },
                )
            })
            .collect();
        Some(sums.into_iter().map(f64::from).sum())
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = tensor;
        None
    }
}
