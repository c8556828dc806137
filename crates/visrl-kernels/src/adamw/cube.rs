//! The step in a kernel of cubecl, in place.
#![allow(clippy::too_many_arguments)] // Those of kernels are what they bind.

use burn::tensor::DType;
use cubecl::prelude::*;

use super::op::{AdamWStep, AdamWTensors};
use crate::cube::launch::{self, WIDTH};
use crate::cube::{self, element};

/// Moves `w` and its moments `m` and `v` by the gradient `g`.
#[cube(launch)]
fn step_of<E: Float>(
    w: &mut Tensor<f32>,
    m: &mut Tensor<f32>,
    v: &mut Tensor<f32>,
    g: &Tensor<E>,
    beta_1: f32,
    beta_2: f32,
    correction_1: f32,
    correction_2: f32,
    epsilon: f32,
    rate: f32,
    kept: f32,
    #[define(E)] _format: ElemType,
) {
    let mut at = ABSOLUTE_POS;
    while at < w.shape(0) {
        let g = f32::cast_from(g[at]);
        let first = m[at] * beta_1 + g * (1.0f32 - beta_1);
        let second = v[at] * beta_2 + g * g * (1.0f32 - beta_2);
        m[at] = first;
        v[at] = second;
        let root = (second / correction_2).sqrt();
        w[at] = w[at] * kept - first / correction_1 / (root + epsilon) * rate;
        at += CUBE_COUNT as usize * WIDTH;
    }
}

#[allow(clippy::result_large_err)] // What could not be used is given back whole.
pub(super) fn adamw(
    step: &AdamWStep,
    tensors: AdamWTensors,
    gradient: &burn::Tensor<1>,
) -> Result<AdamWTensors, AdamWTensors> {
    let all = [&tensors.values, &tensors.first, &tensors.second];
    let taken = |of: &&burn::Tensor<1>| of.dtype() == DType::F32 && cube::takes(of);
    if !all.iter().all(taken) || !cube::takes(gradient) {
        return Err(tensors);
    }
    let AdamWTensors {
        values,
        first,
        second,
    } = tensors;
    let [values, first, second] = [values, first, second].map(|of| cube::copied(cube::unwrap(of)));
    let gradient = cube::in_order(cube::unwrap(gradient.clone()));
    let [beta_1, beta_2] = step.betas;
    let time = i32::try_from(step.time).unwrap_or(i32::MAX);
    let [correction_1, correction_2] = step.betas.map(|beta| 1.0 - beta.powi(time));
    let kept = 1.0 - step.learning_rate * f64::from(step.weight_decay);
    let format = element(&gradient);
    step_of::launch(
        &values.client,
        launch::cubes_of_units(values.meta.num_elements()),
        launch::cube(),
        values.clone().into_tensor_arg(),
        first.clone().into_tensor_arg(),
        second.clone().into_tensor_arg(),
        gradient.into_tensor_arg(),
        beta_1,
        beta_2,
        correction_1,
        correction_2,
        step.epsilon,
        step.learning_rate as f32,
        kept as f32,
        format,
    );
    Ok(AdamWTensors {
        values: cube::wrap(values),
        first: cube::wrap(first),
        second: cube::wrap(second),
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};
    use proptest::prelude::*;

    use super::super::plain;
    use super::*;
    use crate::cube::testing::device;
    use crate::testing::{close, numbers, values};

    fn check(seed: u64, len: usize, weight_decay: f32) {
        let vector = |seed: u64, device: &Device| {
            Tensor::<1>::from_floats(numbers(seed, len, 1.0).as_slice(), device)
        };
        let start = |device: &Device| {
            let zeros = Tensor::zeros([len], device);
            AdamWTensors {
                values: vector(seed, device),
                first: zeros.clone(),
                second: zeros,
            }
        };
        let (mut found, mut expected) = (start(&device()), start(&Device::flex()));
        for time in 1..4 {
            let step = AdamWStep {
                betas: [0.9, 0.999],
                epsilon: 1e-8,
                weight_decay,
                learning_rate: 1e-2,
                time,
            };
            let held = found.clone();
            let before = values(held.values.clone());
            let seed = seed + time as u64;
            found = adamw(&step, found, &vector(seed, &device())).unwrap();
            expected = plain::adamw(&step, expected, &vector(seed, &Device::flex()));
            // Someone else holds the tensors: they must stay as they are.
            assert_eq!(values(held.values), before);
            for (found, expected) in [
                (&found.values, &expected.values),
                (&found.first, &expected.first),
                (&found.second, &expected.second),
            ] {
                close(&values(found.clone()), &values(expected.clone()), 1e-6);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, len in 1usize..200, weight_decay in 0.0f32..0.2,
        ) {
            check(seed, len, weight_decay);
        }
    }

    #[test]
    fn vectors_of_all_sizes() {
        for len in [1, 255, 257, 70_001] {
            check(4, len, 0.1);
        }
    }
}
