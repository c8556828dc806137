//! Dropping bad samples that the policy would no longer produce.

use crate::real::Real;

/// Whether a row takes part in the policy term, by the off-policy sequence mask of DeepSeek-V3.2
/// (arXiv 2512.02556): a row of negative advantage is dropped when
/// `mean_t(sampled_t - logp_t) > threshold`, that is, when the policy has moved away from it.
///
/// Positions without a sampled log-probability (NaN) count as zero difference; `tokens` is the
/// number of true values in `mask`.
pub(crate) fn keeps<F: Real>(
    advantage: F,
    logps: &[F],
    sampled: &[F],
    mask: &[bool],
    tokens: usize,
    threshold: f64,
) -> bool {
    if advantage >= F::ZERO {
        return true;
    }
    let mut sum = 0.0;
    for ((logp, sampled), counted) in logps.iter().zip(sampled).zip(mask) {
        if *counted {
            let d = *sampled - *logp;
            if !d.is_nan() {
                sum += d.to_f64();
            }
        }
    }
    sum / tokens.max(1) as f64 <= threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unlikely_bad_rows_are_dropped() {
        let (now, then, mask) = ([-3.0, -3.0, 9.0], [-1.0, -2.0, 0.0], [true, true, false]);
        assert!(keeps(1.0, &now, &then, &mask, 2, 0.5));
        assert!(!keeps(-1.0, &now, &then, &mask, 2, 0.5));
        assert!(keeps(-1.0, &now, &then, &mask, 2, 1.5));
        assert!(keeps(-1.0, &now, &[f64::NAN; 3], &mask, 2, 0.0));
    }
}
