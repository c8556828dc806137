//! Log-probabilities of tokens under the head's logits, and back.

use burn::tensor::Tensor;

/// What [`log_softmax`] makes of logits.
#[derive(Debug)]
pub struct LogSoftmax {
    /// Log-probabilities, `[rows, vocab]`, in the memory of the logits.
    pub logps: Tensor<2>,
    /// That of each row's target, in nats.
    pub chosen: Vec<f32>,
    /// Entropy of each row, in nats.
    pub entropies: Vec<f32>,
}

/// `x - log sum exp(x)` of each row of logits `[rows, vocab]`, with one target per row.
///
/// # Errors
/// The logits as they were, where they are not an untracked f32 tensor of the flex backend, or
/// where targets do not fit.
#[allow(clippy::result_large_err)] // What could not be used is given back whole.
pub fn log_softmax(logits: Tensor<2>, targets: &[u32]) -> Result<LogSoftmax, Tensor<2>> {
    #[cfg(feature = "flex")]
    if fit(&logits, targets)
        && let Some(host) = super::flex::plain(&logits)
    {
        drop(logits);
        return Ok(on_flex::forward(host, targets));
    }
    #[cfg(not(feature = "flex"))]
    let _ = targets;
    Err(logits)
}

/// What a loss asks of the rows of [`log_softmax`].
#[derive(Clone, Copy, Debug)]
pub struct RowGradients<'a> {
    /// d loss / d log-probability of the target.
    pub logp: &'a [f32],
    /// d loss / d entropy, and the entropies.
    pub entropy: Option<(&'a [f32], &'a [f32])>,
}

/// The gradient with respect to the logits, `[rows, vocab]`, from [`LogSoftmax::logps`].
///
/// With p the softmax, H its entropy, c and e the rows' derivatives and t the target,
/// `d x = c (onehot(t) - p) - e p (log p + H)`.
///
/// # Errors
/// The log-probabilities as they were, as [`log_softmax`].
#[allow(clippy::result_large_err)] // What could not be used is given back whole.
pub fn log_softmax_backward(
    logps: Tensor<2>,
    targets: &[u32],
    rows: RowGradients<'_>,
) -> Result<Tensor<2>, Tensor<2>> {
    #[cfg(feature = "flex")]
    if fit(&logps, targets)
        && rows.logp.len() == targets.len()
        && rows
            .entropy
            .is_none_or(|(e, h)| e.len() == targets.len() && h.len() == targets.len())
        && let Some(host) = super::flex::plain(&logps)
    {
        drop(logps);
        return Ok(on_flex::backward(host, targets, rows));
    }
    #[cfg(not(feature = "flex"))]
    let _ = (targets, rows);
    Err(logps)
}

#[cfg(feature = "flex")]
fn fit(logits: &Tensor<2>, targets: &[u32]) -> bool {
    let [rows, vocab] = logits.dims();
    rows == targets.len() && targets.iter().all(|&target| (target as usize) < vocab)
}

#[cfg(feature = "flex")]
mod on_flex {
    use burn::tensor::Tensor;

    use super::{LogSoftmax, RowGradients};
    use crate::exp::exp;
    use crate::flex::{self, Host};
    use crate::slices;

    pub(super) fn forward(logits: Host, targets: &[u32]) -> LogSoftmax {
        let mut logits = flex::owned(logits);
        let vocab = flex::width(&logits);
        let mut entropies = vec![0.0; targets.len()];
        slices::rows_and(
            vocab,
            logits.storage_mut(),
            &mut entropies,
            #[inline(always)]
            |rows, entropies| {
                for (row, entropy) in rows.chunks_exact_mut(vocab).zip(entropies) {
                    let largest = slices::maximum(row);
                    let sum = slices::sum(
                        row,
                        #[inline(always)]
                        |x| exp(x - largest),
                    );
                    let log_sum = sum.ln();
                    let weighted = slices::map_and_sum_of(
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
        LogSoftmax {
            logps: flex::tensor(logits),
            chosen,
            entropies,
        }
    }

    pub(super) fn backward(logps: Host, targets: &[u32], of: RowGradients<'_>) -> Tensor<2> {
        let mut logps = flex::owned(logps);
        let vocab = flex::width(&logps);
        slices::rows1(
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
        flex::tensor(logps)
    }
}
