//! Both passes over slices.

use burn::tensor::Tensor;

use super::op::{LogSoftmax, RowGradients};
use crate::error::Error;
use crate::simd::exp;
use crate::{flex, parallel, simd};

/// Log-probabilities and entropies, in the memory of the logits.
#[allow(clippy::result_large_err)] // What could not be used is given back whole.
pub(super) fn forward(
    logits: Tensor<2>,
    targets: &[u32],
) -> Result<Result<LogSoftmax, Error>, Tensor<2>> {
    let Some(host) = flex::untracked(&logits) else {
        return Err(logits);
    };
    drop(logits);
    let mut logits = flex::owned(host);
    let vocab = flex::width(&logits);
    let mut entropies = vec![0.0; targets.len()];
    parallel::for_rows_into(
        vocab,
        logits.storage_mut(),
        &mut entropies,
        #[inline(always)]
        |rows, entropies| {
            for (row, entropy) in rows.chunks_exact_mut(vocab).zip(entropies) {
                let largest = simd::maximum(row);
                let sum = simd::sum(
                    row,
                    #[inline(always)]
                    |x| exp(x - largest),
                );
                let log_sum = sum.ln();
                let weighted = simd::map_and_sum_of(
                    row,
                    #[inline(always)]
                    |x| {
                        let x = (x - largest) - log_sum;
                        (x, x * exp(x))
                    },
                );
                *entropy = -weighted;
            }
        },
    );
    let rows = flex::read(&logits).chunks_exact(vocab).zip(targets);
    let chosen = rows.map(|(row, &target)| row[target as usize]).collect();
    Ok(Ok(LogSoftmax {
        logps: flex::tensor(logits),
        chosen,
        entropies,
    }))
}

/// The gradient, in the memory of the log-probabilities.
#[allow(clippy::result_large_err)] // What could not be used is given back whole.
pub(super) fn backward(
    logps: Tensor<2>,
    targets: &[u32],
    of: RowGradients<'_>,
) -> Result<Tensor<2>, Tensor<2>> {
    let Some(host) = flex::untracked(&logps) else {
        return Err(logps);
    };
    drop(logps);
    let mut logps = flex::owned(host);
    let vocab = flex::width(&logps);
    parallel::for_rows(
        vocab,
        logps.storage_mut(),
        #[inline(always)]
        |first, rows| {
            for (index, row) in (first..).zip(rows.chunks_exact_mut(vocab)) {
                let c = of.logp[index];
                match of.entropy {
                    None => {
                        for x in row.iter_mut() {
                            *x = -c * exp(*x);
                        }
                    }
                    Some((e, h)) => {
                        let (e, h) = (e[index], h[index]);
                        for x in row.iter_mut() {
                            *x = -exp(*x) * (c + e * (*x + h));
                        }
                    }
                }
                row[targets[index] as usize] += c;
            }
        },
    );
    Ok(flex::tensor(logps))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};
    use proptest::prelude::*;

    use super::super::{op, plain};
    use super::*;
    use crate::testing::{close, matrix, numbers, values};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, rows in 1usize..20, vocab in 1usize..300, scale in 0.1f32..20.0,
            with_entropy: bool,
        ) {
            let logits = || matrix(seed, rows, vocab, scale, &Device::flex());
            let wide = || logits().cast(DType::F64);
            let targets: Vec<u32> =
                (0..rows).map(|row| ((seed as usize + 7 * row) % vocab) as u32).collect();
            let expected = plain::forward(logits(), &targets).unwrap();
            let found = forward(logits(), &targets).unwrap().unwrap();
            prop_assert!(forward(wide(), &targets).is_err());
            let in_f64 = op::log_softmax(wide(), &targets).unwrap();
            for found in [&found, &in_f64] {
                close(&values(found.logps.clone()), &values(expected.logps.clone()), 2e-6);
                close(&found.chosen, &expected.chosen, 2e-6);
                close(&found.entropies, &expected.entropies, 4e-6);
            }
            let (c, e) = (numbers(seed + 1, rows, 1.0), numbers(seed + 2, rows, 1.0));
            let of = RowGradients {
                logp: &c,
                entropy: with_entropy.then_some((&e[..], &expected.entropies[..])),
            };
            let expected = values(plain::backward(expected.logps, &targets, of));
            close(&values(backward(found.logps, &targets, of).unwrap()), &expected, 1e-5);
            let in_f64 = op::log_softmax_backward(in_f64.logps, &targets, of).unwrap();
            close(&values(in_f64), &expected, 1e-5);
        }

        #[test]
        fn the_plain_gradient_is_that_of_automatic_differentiation(
            seed in 0u64..1000, rows in 1usize..20, vocab in 1usize..300, scale in 0.1f32..20.0,
        ) {
            let targets: Vec<u32> = (0..rows).map(|row| ((3 * row) % vocab) as u32).collect();
            let (c, e) = (numbers(seed + 1, rows, 1.0), numbers(seed + 2, rows, 1.0));
            let tracked = matrix(seed, rows, vocab, scale, &Device::flex()).autodiff().require_grad();
            let column = |values: &[f32]| {
                Tensor::<1>::from_floats(values, &tracked.device()).reshape([rows, 1])
            };
            let logps = burn::tensor::activation::log_softmax(tracked.clone(), 1);
            let chosen: Vec<_> = targets.iter().enumerate().map(|(row, &target)| {
                logps.clone().slice([row..row + 1, target as usize..target as usize + 1])
            }).collect();
            let entropies = -(logps.clone() * logps.clone().exp()).sum_dim(1);
            let h = values(entropies.clone());
            let loss = (Tensor::cat(chosen, 0) * column(&c)).sum() + (entropies * column(&e)).sum();
            let expected = values(tracked.grad(&loss.backward()).unwrap());
            let of = RowGradients { logp: &c, entropy: Some((&e, &h)) };
            let logps = logps.without_autodiff();
            close(&values(plain::backward(logps, &targets, of)), &expected, 1e-5);
        }
    }

    #[test]
    fn targets_that_do_not_fit_are_errors() {
        let logits = || matrix(1, 2, 3, 1.0, &Device::flex());
        let message = |targets: &[u32]| match op::log_softmax(logits(), targets) {
            Err(Error::Targets(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(message(&[0]), "1 targets for 2 rows of logits");
        assert_eq!(message(&[0, 3]), "target 3 in a vocabulary of 3");
        let of = RowGradients {
            logp: &[1.0],
            entropy: None,
        };
        assert!(matches!(
            op::log_softmax_backward(logits(), &[0, 1], of),
            Err(Error::Targets(_))
        ));
    }

    #[test]
    fn tracked_tensors_are_left_to_the_plain_form() {
        let tracked = matrix(1, 2, 3, 1.0, &Device::flex()).autodiff();
        assert!(forward(tracked.clone(), &[0, 1]).is_err());
        assert!(op::log_softmax(tracked, &[0, 1]).is_ok());
    }
}
