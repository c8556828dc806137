//! Dropping bad samples that the policy would no longer produce.

use crate::real::Real;

/// Whether a row takes part in the policy term, by the off-policy sequence mask of DeepSeek-V3.2
/// (arXiv 2512.02556): a row of negative advantage is dropped when
/// `mean_t(sampled_t - logp_t) > threshold`, that is, when the policy has moved away from it.
///
/// `logps` and `sampled` are `[tokens of the row]`; tokens without a sampled log-probability (NaN)
/// count as zero difference.
pub(crate) fn keeps<F: Real>(advantage: F, logps: &[F], sampled: &[F], threshold: f64) -> bool {
    if advantage >= F::ZERO {
        return true;
    }
    let moved = |(logp, sampled): (&F, &F)| (*sampled - *logp).to_f64();
    let differences = logps.iter().zip(sampled).map(moved);
    let sum: f64 = differences.filter(|d| !d.is_nan()).sum();
    sum / logps.len().max(1) as f64 <= threshold
}
