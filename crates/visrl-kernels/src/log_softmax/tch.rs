//! Both passes in LibTorch's operators, a part of the vocabulary at a time where more than the
//! log-probabilities themselves is needed.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::tensor::Tensor;
use tch::{Kind, Tensor as Native};

use super::op::{LogSoftmax, RowGradients};
use crate::error::Error;
use crate::libtorch;

/// Ids of the vocabulary that are looked at together.
const PART: i64 = 1 << 14;

/// Log-probabilities and entropies.
#[allow(clippy::result_large_err)] // What could not be used is given back whole.
pub(super) fn forward(
    logits: Tensor<2>,
    targets: &[u32],
) -> Result<Result<LogSoftmax, Error>, Tensor<2>> {
    if !libtorch::takes(&logits) {
        return Err(logits);
    }
    let logits = libtorch::unwrap(logits).tensor;
    let logps = logits.log_softmax(-1, logits.kind());
    drop(logits);
    let chosen = logps.gather(1, &indices(targets, &logps), false);
    let mut weighted = chosen.zeros_like();
    for part in parts(&logps) {
        let mut of = part.exp();
        let _ = of.g_mul_(&part);
        let _ = weighted.g_add_(&of.sum_dim_intlist(1, true, logps.kind()));
    }
    let both = Native::cat(&[chosen, weighted.neg_()], 1);
    let read = libtorch::wrap::<2>(libtorch::fresh(both)).try_into_vec_as::<f32>();
    Ok(read.map_err(Error::device).map(|both| {
        let (chosen, entropies) = both.as_chunks().0.iter().map(|&[a, b]| (a, b)).unzip();
        LogSoftmax {
            logps: libtorch::wrap(libtorch::fresh(logps)),
            chosen,
            entropies,
        }
    }))
}

/// The gradient, in the memory of the log-probabilities.
#[allow(clippy::result_large_err)] // What could not be used is given back whole.
pub(super) fn backward(
    logps: Tensor<2>,
    targets: &[u32],
    of: RowGradients<'_>,
) -> Result<Tensor<2>, Tensor<2>> {
    if !libtorch::takes(&logps) {
        return Err(logps);
    }
    let logps = libtorch::owned(libtorch::unwrap(logps));
    let mut grad = logps.tensor.shallow_clone();
    let (entropy, entropies) = of.entropy.unwrap_or_default();
    let columns = [of.logp, entropy, entropies].concat();
    let mut columns = Native::from_slice(&columns).to(grad.device());
    if grad.kind() != Kind::Float {
        columns = columns.to_kind(grad.kind());
    }
    let columns = columns.view([-1, targets.len() as i64, 1]);
    let of_logp = columns.get(0);
    match of.entropy {
        None => {
            let _ = grad.exp_();
            let _ = grad.g_mul_(&of_logp.neg());
        }
        Some(_) => {
            // -(c + e (log p + H)) p
            for mut part in parts(&grad) {
                let mut factor = &part + columns.get(2);
                let _ = factor.g_mul_(&columns.get(1));
                let _ = factor.g_add_(&of_logp);
                let _ = part.exp_();
                let _ = part.g_mul_(&factor.neg_());
            }
        }
    }
    let index = indices(targets, &grad);
    let _ = grad.scatter_add_(1, &index, &of_logp);
    Ok(libtorch::wrap(logps))
}

/// Columns of a matrix, [`PART`] at a time.
fn parts(of: &Native) -> impl Iterator<Item = Native> {
    let vocab = of.size()[1];
    let starts = (0..vocab).step_by(PART as usize);
    starts.map(move |start| of.narrow(1, start, PART.min(vocab - start)))
}

/// Targets as a column of indices.
fn indices(targets: &[u32], like: &Native) -> Native {
    let ids: Vec<i64> = targets.iter().map(|&id| i64::from(id)).collect();
    Native::from_slice(&ids)
        .to(like.device())
        .view([targets.len() as i64, 1])
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;

    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::{device, has_f64};
    use crate::testing::{close, matrix, numbers, values};

    #[test]
    fn equals_the_plain_form() {
        for (rows, vocab) in [(1, 1), (3, 7), (5, PART as usize + 3)] {
            let logits = || matrix(vocab as u64, rows, vocab, 6.0, &device());
            let targets: Vec<u32> = (0..rows).map(|row| (7 * row % vocab) as u32).collect();
            let expected = plain::forward(logits().cast(DType::F64), &targets).unwrap();
            let (c, e) = (numbers(1, rows, 1.0), numbers(2, rows, 1.0));
            for (dtype, tolerance) in [(DType::F32, 4e-6), (DType::F64, 2e-7)] {
                let held = logits().cast(dtype);
                let found = forward(held.clone(), &targets);
                if dtype == DType::F64 && !has_f64() {
                    assert!(found.is_err());
                    continue;
                }
                let found = found.unwrap().unwrap();
                assert_eq!(values(held), values(logits()));
                close(
                    &values(found.logps.clone()),
                    &values(expected.logps.clone()),
                    tolerance,
                );
                close(&found.chosen, &expected.chosen, tolerance);
                close(&found.entropies, &expected.entropies, tolerance);
                for entropy in [None, Some((&e[..], &expected.entropies[..]))] {
                    let of = RowGradients { logp: &c, entropy };
                    let expected = plain::backward(expected.logps.clone(), &targets, of);
                    let before = values(found.logps.clone());
                    let grad = backward(found.logps.clone(), &targets, of).unwrap();
                    assert_eq!(grad.dtype(), dtype);
                    close(&values(grad), &values(expected), tolerance);
                    // Someone else holds the log-probabilities: they must stay as they are.
                    assert_eq!(values(found.logps.clone()), before);
                }
            }
        }
    }
}
