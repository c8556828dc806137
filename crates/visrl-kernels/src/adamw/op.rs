use burn::tensor::Tensor;

use super::plain;
use crate::forms::tell;

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
    #[cfg(feature = "cubecl")]
    super::cube::adamw,
    #[cfg(feature = "tch")]
    super::tch::adamw,
];

/// The steps of many parameters in one form, as [`Form`] has those of one.
type All = fn(
    &[AdamWStep],
    Vec<AdamWTensors>,
    &[&Tensor<1>],
) -> Result<Vec<AdamWTensors>, Vec<AdamWTensors>>;

/// Whether a form of all steps together takes a gradient.
type Takes = fn(&Tensor<1>) -> bool;

const ALL: &[(Takes, All)] = &[
    #[cfg(feature = "tch")]
    (super::tch::takes, super::tch::adamw_all),
];

/// Whether there is a form that moves many parameters by gradients like this one together.
pub fn adamw_has_all(gradient: &Tensor<1>) -> bool {
    ALL.iter().any(|(takes, _)| takes(gradient))
}

/// As [`adamw`], for as many parameters as there are steps and gradients.
pub fn adamw_all(
    steps: &[AdamWStep],
    mut tensors: Vec<AdamWTensors>,
    gradients: &[&Tensor<1>],
) -> Vec<AdamWTensors> {
    for (_, form) in ALL {
        match form(steps, tensors, gradients) {
            Ok(moved) => {
                tell::<AdamWStep>(true);
                return moved;
            }
            Err(back) => tensors = back,
        }
    }
    let each = steps.iter().zip(tensors).zip(gradients);
    each.map(|((step, tensors), gradient)| adamw(step, tensors, gradient))
        .collect()
}

/// Moves untracked parameters and their moments by a gradient, all flattened and of one length.
pub fn adamw(step: &AdamWStep, mut tensors: AdamWTensors, gradient: &Tensor<1>) -> AdamWTensors {
    for form in FORMS {
        match form(step, tensors, gradient) {
            Ok(moved) => {
                tell::<AdamWStep>(true);
                return moved;
            }
            Err(back) => tensors = back,
        }
    }
    tell::<AdamWStep>(false);
    plain::adamw(step, tensors, gradient)
}
