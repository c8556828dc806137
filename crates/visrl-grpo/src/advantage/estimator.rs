//! The contract of advantage estimators.

use crate::advantage::rewards::RewardTable;
use crate::error::Result;
use crate::real::Real;

/// Turns the rewards of groups into advantages.
///
/// Every estimator agrees on the corner cases: a group whose rewards are all equal gets exactly
/// 0; so does a completion that could not be scored, and a group in which fewer than two
/// completions were scored, so also every group of size 1.
pub trait AdvantageEstimator<F: Real>: Send + Sync {
    /// Writes the advantage of each completion, `[completions]`.
    ///
    /// # Errors
    /// [`Error::Length`](crate::Error::Length) when `out` has another length,
    /// [`Error::Config`](crate::Error::Config) for a configuration value outside its range.
    fn advantages_into(&self, rewards: &RewardTable<'_, F>, out: &mut [F]) -> Result<()>;

    /// The advantage of each completion, in a fresh buffer.
    ///
    /// # Errors
    /// As [`advantages_into`](Self::advantages_into).
    fn advantages(&self, rewards: &RewardTable<'_, F>) -> Result<Vec<F>> {
        let mut out = vec![F::ZERO; rewards.completions()];
        self.advantages_into(rewards, &mut out)?;
        Ok(out)
    }
}
