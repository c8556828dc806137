use burn::tensor::Tensor;

use super::plain;
use crate::error::Error;
use crate::forms::tell;

/// What [`log_softmax`] makes of logits.
#[derive(Debug)]
pub struct LogSoftmax {
    /// Log-probabilities, `[rows, vocab]`, in the memory of the logits where that can be.
    pub logps: Tensor<2>,
    /// That of each row's target, in nats.
    pub chosen: Vec<f32>,
    /// Entropy of each row, in nats.
    pub entropies: Vec<f32>,
}

/// What a loss asks of the rows of [`log_softmax`].
#[derive(Clone, Copy, Debug)]
pub struct RowGradients<'a> {
    /// d loss / d log-probability of the target.
    pub logp: &'a [f32],
    /// d loss / d entropy, and the entropies.
    pub entropy: Option<(&'a [f32], &'a [f32])>,
}

/// The forward pass in one form, which may fail to read its results; the logits as they were where
/// it does not take them.
type Forward = fn(Tensor<2>, &[u32]) -> Result<Result<LogSoftmax, Error>, Tensor<2>>;

/// The backward pass in one form; the log-probabilities as they were where it does not take them.
type Backward = fn(Tensor<2>, &[u32], RowGradients<'_>) -> Result<Tensor<2>, Tensor<2>>;

const FORMS: &[(Forward, Backward)] = &[
    #[cfg(feature = "flex")]
    (super::flex::forward, super::flex::backward),
    #[cfg(feature = "cubecl")]
    (super::cube::forward, super::cube::backward),
    #[cfg(feature = "tch")]
    (super::tch::forward, super::tch::backward),
];

/// `x - log sum exp(x)` of each row of logits `[rows, vocab]`, with one target per row.
///
/// # Errors
/// [`Error::Targets`] when targets do not fit the logits, [`Error::Device`] when the results cannot
/// be read.
pub fn log_softmax(mut logits: Tensor<2>, targets: &[u32]) -> Result<LogSoftmax, Error> {
    check(&logits, targets)?;
    for (forward, _) in FORMS {
        match forward(logits, targets) {
            Ok(found) => {
                tell::<LogSoftmax>(true);
                return found;
            }
            Err(back) => logits = back,
        }
    }
    tell::<LogSoftmax>(false);
    plain::forward(logits, targets)
}

/// The gradient with respect to the logits, `[rows, vocab]`, from [`LogSoftmax::logps`].
///
/// With p the softmax, H its entropy, c and e the rows' derivatives and t the target,
/// `d x = c (onehot(t) - p) - e p (log p + H)`.
///
/// # Errors
/// [`Error::Targets`] when targets or derivatives do not fit the log-probabilities.
pub fn log_softmax_backward(
    mut logps: Tensor<2>,
    targets: &[u32],
    rows: RowGradients<'_>,
) -> Result<Tensor<2>, Error> {
    check(&logps, targets)?;
    let (e, h) = rows.entropy.unwrap_or((rows.logp, rows.logp));
    if [rows.logp, e, h].iter().any(|of| of.len() != targets.len()) {
        return Err(Error::Targets(format!(
            "{}, {} and {} derivatives and entropies for {} targets",
            rows.logp.len(),
            e.len(),
            h.len(),
            targets.len()
        )));
    }
    for (_, backward) in FORMS {
        match backward(logps, targets, rows) {
            Ok(gradient) => return Ok(gradient),
            Err(back) => logps = back,
        }
    }
    Ok(plain::backward(logps, targets, rows))
}

fn check(logits: &Tensor<2>, targets: &[u32]) -> Result<(), Error> {
    let [rows, vocab] = logits.dims();
    if rows != targets.len() {
        let text = format!("{} targets for {rows} rows of logits", targets.len());
        return Err(Error::Targets(text));
    }
    match targets.iter().find(|&&target| target as usize >= vocab) {
        Some(target) => Err(Error::Targets(format!(
            "target {target} in a vocabulary of {vocab}"
        ))),
        None => Ok(()),
    }
}
