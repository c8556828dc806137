//! What a loss family has to say about one token.

use crate::error::Result;
use crate::lanes::{BLOCK, Lanes, Tile};
use crate::real::Real;

/// What one token contributes to the policy term, before masks, corrections and averaging.
///
/// Implement this (a file with a small struct) and wrap it in a
/// [`SurrogateLoss`](crate::SurrogateLoss) to get a complete [`PolicyLoss`](crate::PolicyLoss)
/// with KL term, entropy bonus, corrections and metrics:
///
/// ```
/// use visrl_grpo::{
///     Aggregation, Clip, PolicyLoss, Real, RowView, Surrogate, SurrogateLoss, Term, Terms,
///     TokenBatch, TokenView,
/// };
///
/// /// Plain REINFORCE: `-A * logp`.
/// struct Reinforce;
///
/// impl<F: Real> Surrogate<F> for Reinforce {
///     type Row = F;
///     fn row(&self, row: &RowView<'_, F>) -> F {
///         row.advantage
///     }
///     fn token(&self, advantage: &F, token: &TokenView<F>) -> Term<F> {
///         Term {
///             loss: -*advantage * token.logp,
///             d_logp: -*advantage,
///             d_log_ratio: F::ZERO,
///             clip: Clip::None,
///         }
///     }
/// }
///
/// # fn main() -> Result<(), visrl_grpo::Error> {
/// let loss = SurrogateLoss {
///     surrogate: Reinforce,
///     aggregation: Aggregation::TokenMean,
///     terms: Terms { beta: 0.0, ..Terms::default() },
/// };
/// let out = loss.evaluate(&TokenBatch::new(2, &[-1.0f32, -3.0], &[true, true], &[1.0]))?;
/// assert_eq!((out.loss, out.grad), (2.0, vec![-0.5, -0.5]));
/// # Ok(())
/// # }
/// ```
pub trait Surrogate<F: Real>: Send + Sync {
    /// What is computed once per row and shared by its tokens.
    type Row;

    /// Whether the ratio is taken to the detached current policy even where the batch carries
    /// old log-probabilities.
    const ON_POLICY: bool = false;

    /// Whether the surrogate uses the importance correction itself; otherwise each token's term
    /// is multiplied by its correction ratio.
    const OWNS_CORRECTION: bool = false;

    /// Looks at a row. Called for rows without counted tokens too.
    fn row(&self, row: &RowView<'_, F>) -> Self::Row;

    /// The term of one counted token. Called in blocks, so also for tokens whose term is not used:
    /// twice for some, and with zeros in the place of tokens that do not count.
    fn token(&self, row: &Self::Row, token: &TokenView<F>) -> Term<F>;

    /// The detached weight of a whole row, reported as a metric, for losses that have one.
    fn sequence_weight(&self, _row: &Self::Row) -> Option<F> {
        None
    }

    /// Checks the configuration.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) naming the field outside its range.
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

/// One row of a batch.
#[derive(Debug, Clone, Copy)]
pub struct RowView<'a, F> {
    /// The row's advantage.
    pub advantage: F,
    /// Counted tokens in the row; 0 also when the whole row is left out.
    pub tokens: usize,
    /// Log-probabilities, `[len]`.
    pub logps: &'a [F],
    /// Those of the sampling policy, `[len]`; `None`: the current policy, detached.
    pub old_logps: Option<&'a [F]>,
    /// Which tokens count, `[len]`.
    pub mask: &'a [bool],
    /// Ratios that correct for a foreign sampler, `[len]`.
    pub importance_ratios: Option<&'a [F]>,
}

impl<F: Real> RowView<'_, F> {
    /// The sum of `f(log ratio)` over counted tokens.
    #[inline(always)]
    pub fn sum_log_ratio(&self, f: impl Fn(F) -> F) -> f64 {
        let Some(old) = self.old_logps.filter(|_| self.tokens > 0) else {
            return f(F::ZERO).to_f64() * self.tokens as f64;
        };
        let mut sum = Lanes::default();
        let mut add = |logps: &[F; BLOCK], old: &[F; BLOCK], mask: &[bool; BLOCK]| {
            let mut values = Tile::ZERO;
            for t in 0..BLOCK {
                let value = f(logps[t] - old[t]);
                values[t] = if mask[t] { value } else { F::ZERO };
            }
            sum.add::<F, true>(&values[..], mask);
        };
        let (logps, last_logps) = self.logps.as_chunks::<BLOCK>();
        let (old, last_old) = old.as_chunks::<BLOCK>();
        let (mask, last_mask) = self.mask.as_chunks::<BLOCK>();
        for ((logps, old), mask) in logps.iter().zip(old).zip(mask) {
            add(logps, old, mask);
        }
        if !last_mask.is_empty() {
            let (mut logps, mut old, mut mask) = (Tile::ZERO, Tile::ZERO, [false; BLOCK]);
            logps[..last_logps.len()].copy_from_slice(last_logps);
            old[..last_old.len()].copy_from_slice(last_old);
            mask[..last_mask.len()].copy_from_slice(last_mask);
            add(&logps, &old, &mask);
        }
        sum.sum()
    }
}

/// One counted token.
#[derive(Debug, Clone, Copy)]
pub struct TokenView<F> {
    /// Log-probability under the policy being trained.
    pub logp: F,
    /// Log of the importance ratio: of the token, or of the row at sequence level.
    pub log_ratio: F,
    /// The importance ratio, `exp(log_ratio)`.
    pub ratio: F,
}

/// What one token contributes to the policy term.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Term<F> {
    /// The value; it is minimized.
    pub loss: F,
    /// Derivative with respect to the token's own log-probability, at fixed ratio.
    pub d_logp: F,
    /// Derivative with respect to the log of the importance ratio.
    pub d_log_ratio: F,
    /// Whether the token was clipped, for the metrics.
    pub clip: Clip,
}

/// On which side a ratio was clipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clip {
    /// Not clipped.
    #[default]
    None,
    /// The ratio was too small, and the advantage negative.
    Low,
    /// The ratio was too large, and the advantage positive.
    High,
}
