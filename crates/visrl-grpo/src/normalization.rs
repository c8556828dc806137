//! The counts that a loss divides by.

use serde::{Deserialize, Serialize};

/// The counts over which a loss is averaged.
///
/// A loss is a sum over tokens, divided by counts of the *whole* batch. When a batch is evaluated
/// in pieces (because of memory, or on several devices), every piece needs the counts of the
/// whole; then the pieces' losses and gradients simply add up to those of the whole batch:
///
/// ```
/// use visrl_grpo::{GrpoLoss, LossBatch, PolicyLoss};
/// # fn main() -> Result<(), visrl_grpo::Error> {
/// let logps = [-0.5, -1.0, -2.0, -0.1f64];
/// let reference = [-0.6, -0.8, -2.0, -0.3];
/// let batch = LossBatch::new(&[3, 4], &logps, &[1.0, -1.0]).with_ref_logps(&reference);
///
/// let loss = GrpoLoss::default();
/// let whole = loss.evaluate(&batch)?;
/// let counts = loss.normalization(&batch)?;
/// let mut sum = 0.0;
/// for row in 0..2 {
///     sum += loss.evaluate(&batch.slice(row..row + 1)?.with_normalization(counts))?.loss;
/// }
/// assert!((sum - whole.loss).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Counts are `f64` because accumulation can make them fractional, see
/// [`Normalization::window`]. A count of zero divides as one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Rows (completions), including those without a token that counts.
    pub sequences: f64,
    /// Tokens that count.
    pub tokens: f64,
    /// Tokens that the entropy quantile selects; equal to `tokens` without a quantile.
    /// The entropy bonus is a mean over these.
    pub entropy_tokens: f64,
    /// The entropy at or above which a token takes part in the policy term; `None`: all do.
    pub entropy_threshold: Option<f64>,
}

impl Normalization {
    /// Counts without an entropy quantile.
    pub fn new(sequences: usize, tokens: usize) -> Self {
        Self {
            sequences: sequences as f64,
            tokens: tokens as f64,
            entropy_tokens: tokens as f64,
            entropy_threshold: None,
        }
    }

    /// The counts of one micro-batch out of `steps` whose gradients are added up: every count
    /// times `steps`, so that the sum over micro-batches is the mean of their losses.
    ///
    /// This weighs micro-batches equally, however many tokens each has. To weigh all tokens
    /// equally, give every micro-batch the counts of the whole accumulation window instead.
    #[must_use]
    pub fn accumulated(self, steps: usize) -> Self {
        let steps = steps.max(1) as f64;
        Self {
            sequences: self.sequences * steps,
            tokens: self.tokens * steps,
            entropy_tokens: self.entropy_tokens * steps,
            entropy_threshold: self.entropy_threshold,
        }
    }

    /// Replaces the token count by the share of one optimizer step in a generation batch:
    /// `generation_tokens * accumulation_steps / steps_per_generation`.
    ///
    /// A generation batch of `steps_per_generation` micro-batches is spent over
    /// `steps_per_generation / accumulation_steps` optimizer steps; `generation_tokens` counts
    /// all of it. DAPO, CISPO and VESPO are defined with this count.
    #[must_use]
    pub fn window(
        self,
        generation_tokens: usize,
        accumulation_steps: usize,
        steps_per_generation: usize,
    ) -> Self {
        let share = accumulation_steps.max(1) as f64 / steps_per_generation.max(1) as f64;
        Self {
            tokens: generation_tokens.max(1) as f64 * share,
            ..self
        }
    }
}

/// A count to divide by: zero becomes one.
pub(crate) fn guarded(count: f64) -> f64 {
    if count > 0.0 { count } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accumulation_scales_every_count() {
        let n = Normalization::new(8, 47).accumulated(4);
        assert_eq!(
            (n.sequences, n.tokens, n.entropy_tokens),
            (32.0, 188.0, 188.0)
        );
        assert_eq!(
            Normalization::new(8, 47).accumulated(0),
            Normalization::new(8, 47)
        );
    }

    #[test]
    fn a_window_may_be_a_fraction() {
        assert_eq!(Normalization::new(8, 40).window(47, 2, 4).tokens, 23.5);
        assert_eq!(Normalization::new(8, 0).window(0, 1, 1).tokens, 1.0);
    }

    #[test]
    fn zero_divides_as_one() {
        assert_eq!(guarded(0.0), 1.0);
        assert_eq!(guarded(0.5), 0.5);
    }
}
