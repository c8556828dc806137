//! The step in LibTorch's operators, in place.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::tensor::{DType, Tensor};

use super::op::{AdamWStep, AdamWTensors};
use crate::libtorch;

#[allow(clippy::result_large_err)] // What could not be used is given back whole.
pub(super) fn adamw(
    step: &AdamWStep,
    tensors: AdamWTensors,
    gradient: &Tensor<1>,
) -> Result<AdamWTensors, AdamWTensors> {
    let all = [&tensors.values, &tensors.first, &tensors.second, gradient];
    let takes = |of: &&Tensor<1>| of.dtype() == DType::F32 && libtorch::takes(of);
    // A rate of 0 has no place in the quotient below.
    if step.learning_rate <= 0.0 || !all.iter().all(takes) {
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

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::device;
    use crate::testing::{close, numbers, values};

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
