//! The step in one pass over slices.

use burn::tensor::Tensor;

use super::op::{AdamWStep, AdamWTensors};
use crate::{flex, parallel};

#[allow(clippy::result_large_err)] // What could not be used is given back whole.
pub(super) fn adamw(
    step: &AdamWStep,
    tensors: AdamWTensors,
    gradient: &Tensor<1>,
) -> Result<AdamWTensors, AdamWTensors> {
    let hosts = [&tensors.values, &tensors.first, &tensors.second].map(flex::untracked);
    let ([Some(values), Some(first), Some(second)], Some(gradient)) =
        (hosts, flex::untracked(gradient))
    else {
        return Err(tensors);
    };
    drop(tensors);
    let [mut values, mut first, mut second] = [values, first, second].map(flex::owned);
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
    parallel::for_triples_with(
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
    Ok(AdamWTensors {
        values: flex::tensor(values),
        first: flex::tensor(first),
        second: flex::tensor(second),
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, TensorData};
    use proptest::prelude::*;

    use super::super::op;
    use super::super::plain;
    use super::*;
    use crate::testing::{close, numbers, values};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, len in 1usize..200, weight_decay in 0.0f32..0.2,
        ) {
            let vector = |seed: u64| {
                Tensor::<1>::from_data(TensorData::new(numbers(seed, len, 1.0), [len]), &Device::flex())
            };
            let zeros = vector(seed).zeros_like();
            let start = AdamWTensors { values: vector(seed), first: zeros.clone(), second: zeros };
            let wide = |tensor: Tensor<1>| tensor.cast(DType::F64);
            let mut wide_state = AdamWTensors {
                values: wide(start.values.clone()),
                first: wide(start.first.clone()),
                second: wide(start.second.clone()),
            };
            let (mut state, mut expected) = (start.clone(), start);
            for time in 1..4 {
                let gradient = vector(seed + time as u64);
                let step = AdamWStep {
                    betas: [0.9, 0.999],
                    epsilon: 1e-8,
                    weight_decay,
                    learning_rate: 1e-2,
                    time,
                };
                state = adamw(&step, state, &gradient).unwrap();
                expected = plain::adamw(&step, expected, &gradient);
                prop_assert!(adamw(&step, wide_state.clone(), &wide(gradient.clone())).is_err());
                wide_state = op::adamw(&step, wide_state, &wide(gradient));
                close(&values(state.values.clone()), &values(expected.values.clone()), 1e-6);
                close(&values(state.first.clone()), &values(expected.first.clone()), 1e-6);
                close(&values(state.second.clone()), &values(expected.second.clone()), 1e-6);
                close(&values(wide_state.values.clone()), &values(expected.values.clone()), 1e-6);
            }
        }
    }
}
