//! Both passes in kernels of cubecl, in the memory of what they are given.

use burn::tensor::{DType, TensorData};
use cubecl::prelude::*;

use super::op::{LogSoftmax, RowGradients};
use crate::cube::launch::{self, WIDTH};
use crate::cube::reduce::{LOWEST, cube_max, cube_sum};
use crate::cube::{self, element, fresh};
use crate::error::Error;

/// Log-probabilities in the place of logits, and of each row that of its target and the entropy,
/// `[rows, 2]`.
#[cube(launch)]
fn normalize<E: Float>(
    x: &mut Tensor<E>,
    targets: &Tensor<u32>,
    found: &mut Tensor<f32>,
    #[define(E)] _format: ElemType,
) {
    let columns = x.shape(1);
    let mut row = CUBE_POS;
    while row < x.shape(0) {
        let start = row * columns;
        let mut largest = f32::new(LOWEST);
        let mut column = UNIT_POS as usize;
        while column < columns {
            let value = f32::cast_from(x[start + column]);
            if value > largest {
                largest = value;
            }
            column += WIDTH;
        }
        let largest = cube_max(largest);
        let mut sum = 0.0f32;
        let mut column = UNIT_POS as usize;
        while column < columns {
            sum += (f32::cast_from(x[start + column]) - largest).exp();
            column += WIDTH;
        }
        let log_sum = cube_sum(sum).ln();
        let target = usize::cast_from(targets[row]);
        let mut weighted = 0.0f32;
        let mut column = UNIT_POS as usize;
        while column < columns {
            let logp = (f32::cast_from(x[start + column]) - largest) - log_sum;
            weighted += logp * logp.exp();
            x[start + column] = E::cast_from(logp);
            if column == target {
                found[2 * row] = logp;
            }
            column += WIDTH;
        }
        let entropy = -cube_sum(weighted);
        if UNIT_POS == 0 {
            found[2 * row + 1] = entropy;
        }
        row += CUBE_COUNT as usize;
    }
}

/// `c (onehot(t) - p) - e p (log p + H)` in the place of log p; c, e and H are `[3, rows]`.
#[cube(launch)]
fn normalize_backward<E: Float>(
    x: &mut Tensor<E>,
    targets: &Tensor<u32>,
    of: &Tensor<f32>,
    #[define(E)] _format: ElemType,
) {
    let columns = x.shape(1);
    let rows = x.shape(0);
    let numbers = rows * columns;
    let mut at = ABSOLUTE_POS;
    while at < numbers {
        let (row, column) = (at / columns, at % columns);
        let logp = f32::cast_from(x[at]);
        let c = of[row];
        let mut d = -logp.exp() * (c + of[rows + row] * (logp + of[2 * rows + row]));
        if column == usize::cast_from(targets[row]) {
            d += c;
        }
        x[at] = E::cast_from(d);
        at += CUBE_COUNT as usize * WIDTH;
    }
}

/// Log-probabilities and entropies.
#[allow(clippy::result_large_err)] // What could not be used is given back whole.
pub(super) fn forward(
    logits: burn::Tensor<2>,
    targets: &[u32],
) -> Result<Result<LogSoftmax, Error>, burn::Tensor<2>> {
    if !cube::takes(&logits) {
        return Err(logits);
    }
    let logits = cube::copied(cube::unwrap(logits));
    let found = fresh(&logits, &[targets.len(), 2], DType::F32);
    normalize::launch(
        &logits.client,
        launch::cubes(targets.len()),
        launch::cube(),
        logits.clone().into_tensor_arg(),
        cube::whole(&logits, targets).into_tensor_arg(),
        found.clone().into_tensor_arg(),
        element(&logits),
    );
    let read = cube::wrap::<2>(found).try_into_vec_as::<f32>();
    Ok(read.map_err(Error::device).map(|both| {
        let (chosen, entropies) = both.as_chunks().0.iter().map(|&[a, b]| (a, b)).unzip();
        LogSoftmax {
            logps: cube::wrap(logits),
            chosen,
            entropies,
        }
    }))
}

/// The gradient, in the memory of the log-probabilities.
#[allow(clippy::result_large_err)] // What could not be used is given back whole.
pub(super) fn backward(
    logps: burn::Tensor<2>,
    targets: &[u32],
    of: RowGradients<'_>,
) -> Result<burn::Tensor<2>, burn::Tensor<2>> {
    if !cube::takes(&logps) {
        return Err(logps);
    }
    let zeros = vec![0.0; targets.len()];
    let (e, h) = of.entropy.unwrap_or((&zeros, &zeros));
    let rows = TensorData::new([of.logp, e, h].concat(), [3, targets.len()]);
    let rows = burn::Tensor::<2>::from_data(rows, (&logps.device(), DType::F32));
    let rows = cube::in_order(cube::unwrap(rows));
    let logps = cube::copied(cube::unwrap(logps));
    normalize_backward::launch(
        &logps.client,
        launch::cubes_of_units(logps.meta.num_elements()),
        launch::cube(),
        logps.clone().into_tensor_arg(),
        cube::whole(&logps, targets).into_tensor_arg(),
        rows.into_tensor_arg(),
        element(&logps),
    );
    Ok(cube::wrap(logps))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use proptest::prelude::*;

    use super::super::plain;
    use super::*;
    use crate::cube::testing::device;
    use crate::testing::{close, matrix, numbers, values};

    fn check(seed: u64, rows: usize, vocab: usize, scale: f32, with_entropy: bool) {
        let logits = |device: &Device| matrix(seed, rows, vocab, scale, device);
        let targets = (0..rows).map(|row| ((seed as usize + 7 * row) % vocab) as u32);
        let targets: Vec<u32> = targets.collect();
        let wide = logits(&Device::flex()).cast(DType::F64);
        let expected = plain::forward(wide, &targets).unwrap();
        let held = logits(&device());
        let found = forward(held.clone(), &targets).unwrap().unwrap();
        assert_eq!(values(held), values(logits(&device())));
        let logps = values(found.logps.clone());
        close(&logps, &values(expected.logps.clone()), 2e-6);
        close(&found.chosen, &expected.chosen, 2e-6);
        close(&found.entropies, &expected.entropies, 4e-6);
        let (c, e) = (numbers(seed + 1, rows, 1.0), numbers(seed + 2, rows, 1.0));
        let of = RowGradients {
            logp: &c,
            entropy: with_entropy.then_some((&e[..], &expected.entropies[..])),
        };
        let expected = values(plain::backward(expected.logps, &targets, of));
        let held = found.logps.clone();
        let found = backward(found.logps, &targets, of).unwrap();
        close(&values(found), &expected, 1e-5);
        assert_eq!(values(held), logps);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, rows in 1usize..20, vocab in 1usize..300, scale in 0.1f32..20.0,
            with_entropy: bool,
        ) {
            check(seed, rows, vocab, scale, with_entropy);
        }
    }

    #[test]
    fn a_large_vocabulary() {
        check(1, 2, 151_936, 12.0, true);
    }

    #[test]
    fn tracked_tensors_and_f64_are_left_to_the_plain_form() {
        let tracked = matrix(1, 2, 3, 1.0, &device()).autodiff();
        assert!(forward(tracked, &[0, 1]).is_err());
        if device().supports_dtype(DType::F64) {
            let wide = matrix(1, 2, 3, 1.0, &device()).cast(DType::F64);
            assert!(forward(wide, &[0, 1]).is_err());
        }
    }
}
