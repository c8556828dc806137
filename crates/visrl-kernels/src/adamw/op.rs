use burn::tensor::Tensor;

use super::plain;

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

/// What a step moves: flattened tensors of one length.
#[derive(Clone, Debug)]
pub struct AdamWTensors {
    /// The parameters.
    pub values: Tensor<1>,
    /// Their first moments, the mean of gradients.
    pub first: Tensor<1>,
    /// Their second moments, the mean of squared gradients.
    pub second: Tensor<1>,
}

/// The step in one form: what was moved, or the tensors as they were where it does not take them.
type Form = fn(&AdamWStep, AdamWTensors, &Tensor<1>) -> Result<AdamWTensors, AdamWTensors>;

const FORMS: &[Form] = &[
    #[cfg(feature = "flex")]
    super::flex::adamw,
    #[cfg(feature = "tch")]
    super::tch::adamw,
];

/// Moves untracked parameters and their moments by a gradient, all flattened and of one length.
pub fn adamw(step: &AdamWStep, mut tensors: AdamWTensors, gradient: &Tensor<1>) -> AdamWTensors {
    for form in FORMS {
        match form(step, tensors, gradient) {
            Ok(moved) => return moved,
            Err(back) => tensors = back,
        }
    }
    plain::adamw(step, tensors, gradient)
}
