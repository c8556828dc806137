//! What a loss family has to say about one token.

use crate::error::Result;
use crate::real::Real;
use crate::sampler_correction::RowCorrection;

/// What one token contributes to the policy term, before masks, corrections and averaging.
///
/// Implement this (a file with a small struct) and wrap it in a
/// [`SurrogateLoss`](crate::SurrogateLoss) to get a complete [`PolicyLoss`](crate::PolicyLoss)
/// with KL term, entropy bonus, corrections and metrics:
///
/// ```
/// use visrl_grpo::*;
///
/// /// Plain REINFORCE: `-A * logp`.
/// struct Reinforce;
///
/// impl<F: Real> Surrogate<F> for Reinforce {
///     type Row = F;
///     fn row(&self, row: &RowView<'_, F>) -> F {
///         row.advantage
///     }
///     fn token(&self, advantage: &F, logp: F, _ratio: F) -> Term<F> {
///         Term::of_logp(-*advantage * logp, -*advantage)
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let terms = SharedOptions { beta: 0.0, ..SharedOptions::default() };
/// let loss = SurrogateLoss { surrogate: Reinforce, aggregation: Aggregation::TokenMean, terms };
/// // One row of two tokens with advantage 1.
/// let out = loss.evaluate(&LossBatch::new(&[2], &[-1.0f32, -3.0], &[1.0]))?;
/// assert_eq!((out.loss, out.grad), (2.0, vec![-0.5, -0.5]));
/// # Ok(())
/// # }
/// ```
pub trait Surrogate<F: Real>: Send + Sync {
    /// What is computed once per row and shared by its tokens.
    type Row;

    /// Whether ratios are to the detached current policy even where the batch has old ones.
    const ON_POLICY: bool = false;

    /// Whether the surrogate uses the correction itself; otherwise each term is multiplied by it.
    const OWNS_CORRECTION: bool = false;

    /// Looks at a row: called once for each, also for one without tokens.
    fn row(&self, row: &RowView<'_, F>) -> Self::Row;

    /// The term of a token with its log-probability under the policy and its importance ratio: its
    /// own, or that of the row at sequence level. Called once for each token that counts, in order.
    fn token(&self, row: &Self::Row, logp: F, ratio: F) -> Term<F>;

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

/// One row of a batch. A row that is left out whole, because it was cut at the length limit, has
/// no tokens.
#[derive(Debug, Clone, Copy)]
pub struct RowView<'a, F> {
    /// The row's advantage.
    pub advantage: F,
    /// Log-probabilities, `[tokens of the row]`.
    pub logps: &'a [F],
    /// Those of the sampling policy, `[tokens of the row]`; `None`: the current policy, detached.
    pub old_logps: Option<&'a [F]>,
    /// The ratios that correct for another sampler.
    pub correction: RowCorrection<'a, F>,
}

impl<F: Real> RowView<'_, F> {
    /// The sum of `f(log ratio)` over the tokens.
    pub fn sum_log_ratio(&self, f: impl Fn(F) -> F) -> f64 {
        let pairs = self.logps.iter().zip(self.old_logps.unwrap_or(self.logps));
        pairs.map(|(logp, old)| f(*logp - *old).to_f64()).sum()
    }
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

impl<F: Real> Term<F> {
    /// A term that depends on the log-probability alone, with its derivative.
    pub fn of_logp(loss: F, d_logp: F) -> Self {
        let (d_log_ratio, clip) = (F::ZERO, Clip::None);
        Self { loss, d_logp, d_log_ratio, clip }
    }

    /// A term that depends on the ratio alone, with its derivative with respect to the log ratio.
    pub fn of_ratio(loss: F, d_log_ratio: F) -> Self {
        Self { d_log_ratio, ..Self::of_logp(loss, F::ZERO) }
    }
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
