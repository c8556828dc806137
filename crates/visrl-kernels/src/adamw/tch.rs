//! The step in LibTorch's operators, in place.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::tensor::{DType, Tensor};
use tch::{Kind, Tensor as Native};

use super::op::{AdamWStep, AdamWTensors};
use crate::libtorch::shim::{self, AdamWNumbers};
use crate::libtorch::{self, Torch};

#[allow(clippy::result_large_err)] // What could not be used is given back whole.
pub(super) fn adamw(
    step: &AdamWStep,
    tensors: AdamWTensors,
    gradient: &Tensor<1>,
) -> Result<AdamWTensors, AdamWTensors> {
    // A rate of 0 has no place in the quotient below.
    if step.learning_rate <= 0.0 || !takes(gradient) || !are(&tensors, gradient.dtype()) {
        return Err(tensors);
    }
    let AdamWTensors {
        values,
        first,
        second,
    } = tensors;
    let [mut values, mut first, mut second] =
        [values, first, second].map(|of| libtorch::owned(libtorch::unwrap(of)));
    let gradient = libtorch::unwrap(gradient.clone()).tensor;
    let rate = step.learning_rate;
    let [beta_1, beta_2] = step.betas.map(f64::from);
    let time = i32::try_from(step.time).unwrap_or(i32::MAX);
    let corrections = [beta_1, beta_2].map(|beta| 1.0 - beta.powi(time));
    let _ = first.tensor.lerp_(&gradient, 1.0 - beta_1);
    let _ = second.tensor.lerp_(&gradient.square(), 1.0 - beta_2);
    // With m and v corrected, w - rate m / (sqrt(v) + epsilon), as w + first / divisor.
    let scale = -corrections[0] / rate;
    let mut divisor = second.tensor.sqrt();
    let _ = divisor.g_mul_scalar_(scale / corrections[1].sqrt());
    let _ = divisor.g_add_scalar_(scale * f64::from(step.epsilon));
    if step.weight_decay != 0.0 {
        let kept = 1.0 - rate * f64::from(step.weight_decay);
        let _ = values.tensor.g_mul_scalar_(kept);
    }
    let _ = values.tensor.addcdiv_(&first.tensor, &divisor);
    Ok(AdamWTensors {
        values: libtorch::wrap(values),
        first: libtorch::wrap(first),
        second: libtorch::wrap(second),
    })
}

pub(super) fn takes(gradient: &Tensor<1>) -> bool {
    matches!(gradient.dtype(), DType::F32 | DType::F64) && libtorch::takes(gradient)
}

/// Whether all are in one format on this backend.
fn are(tensors: &AdamWTensors, dtype: DType) -> bool {
    let mut all = [&tensors.values, &tensors.first, &tensors.second].into_iter();
    all.all(|of| of.dtype() == dtype && libtorch::takes(of))
}

/// LibTorch's own step, for all parameters that take the same one together.
pub(super) fn adamw_all(
    steps: &[AdamWStep],
    tensors: Vec<AdamWTensors>,
    gradients: &[&Tensor<1>],
) -> Result<Vec<AdamWTensors>, Vec<AdamWTensors>> {
    let Some(dtype) = gradients.first().map(|gradient| gradient.dtype()) else {
        return Err(tensors);
    };
    let same = |of: &&Tensor<1>| of.dtype() == dtype && takes(of);
    let all = gradients.iter().all(same) && tensors.iter().all(|of| are(of, dtype));
    if !all || steps.len() != tensors.len() || steps.len() != gradients.len() {
        return Err(tensors);
    }
    let (mut values, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
    for of in tensors {
        values.push(libtorch::unwrap(of.values));
        first.push(libtorch::unwrap(of.first));
        second.push(libtorch::unwrap(of.second));
    }
    let [values, first, second] = [values, first, second].map(libtorch::owned_all);
    let gradients = gradients.iter().map(|&of| libtorch::unwrap(of.clone()));
    let gradients: Vec<Torch> = gradients.collect();
    let mut rest: Vec<usize> = (0..steps.len()).collect();
    while let Some(&at) = rest.first() {
        let step = steps[at];
        let (same, others) = rest.into_iter().partition(|&at| steps[at] == step);
        rest = others;
        let same: Vec<usize> = same;
        let pick = |of: &[Torch]| -> Vec<Native> {
            same.iter()
                .map(|&at| of[at].tensor.shallow_clone())
                .collect()
        };
        let lists = [&values, &gradients, &first, &second].map(|of| pick(of));
        let lists = lists.each_ref().map(|of| of.iter().collect::<Vec<_>>());
        let time = Native::full(
            [],
            step.time as f64,
            (Kind::Float, values[at].tensor.device()),
        );
        let numbers = AdamWNumbers {
            rate: step.learning_rate,
            betas: step.betas.map(f64::from),
            decay: f64::from(step.weight_decay),
            epsilon: f64::from(step.epsilon),
        };
        shim::adamw(lists.each_ref().map(Vec::as_slice), &time, numbers);
    }
    let moved = values.into_iter().zip(first).zip(second);
    let moved = moved.map(|((values, first), second)| AdamWTensors {
        values: libtorch::wrap(values),
        first: libtorch::wrap(first),
        second: libtorch::wrap(second),
    });
    Ok(moved.collect())
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::device;
    use crate::testing::{close, numbers, values};

    #[test]
    fn all_steps_together_equal_each_alone() {
        let vector = |seed, len: usize| {
            let data = TensorData::new(numbers(seed, len, 2.0), [len]);
            Tensor::<1>::from_data(data, &device())
        };
        let lengths = [1usize, 50, 64, 7];
        let start = || {
            let of = |(seed, &len): (u64, &usize)| AdamWTensors {
                values: vector(seed, len),
                first: Tensor::zeros([len], &device()),
                second: Tensor::zeros([len], &device()),
            };
            (0..).zip(&lengths).map(of).collect::<Vec<_>>()
        };
        let (mut together, mut alone) = (start(), start());
        for time in 1..5 {
            let steps: Vec<AdamWStep> = (0..lengths.len())
                .map(|at| AdamWStep {
                    betas: [0.9, 0.999],
                    epsilon: 1e-8,
                    weight_decay: if at < 2 { 0.1 } else { 0.0 },
                    learning_rate: 1e-2,
                    time,
                })
                .collect();
            let gradients: Vec<_> = (10 * time as u64..)
                .zip(lengths)
                .map(|(seed, len)| vector(seed, len))
                .collect();
            let gradients: Vec<_> = gradients.iter().collect();
            let held = together.clone();
            let before: Vec<_> = held.iter().map(|of| values(of.values.clone())).collect();
            together = super::adamw_all(&steps, together, &gradients).unwrap();
            for (held, before) in held.into_iter().zip(before) {
                assert_eq!(values(held.values), before);
            }
            for (at, of) in alone.iter_mut().enumerate() {
                *of = plain::adamw(&steps[at], of.clone(), gradients[at]);
                let found = &together[at];
                close(
                    &values(found.values.clone()),
                    &values(of.values.clone()),
                    2e-6,
                );
                close(
                    &values(found.second.clone()),
                    &values(of.second.clone()),
                    2e-6,
                );
            }
        }
    }

    #[test]
    fn equals_the_plain_form() {
        for weight_decay in [0.0, 0.1] {
            let vector = |seed, scale| {
                let data = TensorData::new(numbers(seed, 50, scale), [50]);
                Tensor::<1>::from_data(data, &device())
            };
            let tensors = || AdamWTensors {
                values: vector(1, 2.0),
                first: Tensor::zeros([50], &device()),
                second: Tensor::zeros([50], &device()),
            };
            let (mut found, mut expected) = (tensors(), tensors());
            for time in 1..5 {
                let step = AdamWStep {
                    betas: [0.9, 0.999],
                    epsilon: 1e-8,
                    weight_decay,
                    learning_rate: 1e-2,
                    time,
                };
                let gradient = vector(time as u64 + 5, 3.0);
                let held = found.clone();
                let before = values(held.values.clone());
                found = adamw(&step, found, &gradient).unwrap();
                expected = plain::adamw(&step, expected, &gradient);
                // Someone else holds the tensors: they must stay as they are.
                assert_eq!(values(held.values), before);
                for (found, expected) in [
                    (&found.values, &expected.values),
                    (&found.first, &expected.first),
                    (&found.second, &expected.second),
                ] {
                    close(&values(found.clone()), &values(expected.clone()), 2e-6);
                }
            }
        }
    }
}
