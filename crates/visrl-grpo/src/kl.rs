//! How far the policy has moved from the reference, estimated from sampled tokens.
//!
//! With `d = log p_ref - log p`, for a token sampled from `p`:
//!
//! | estimator | value | d value / d log p | expectation |
//! |---|---|---|---|
//! | [`K1`] | `-d` | `1` | the KL divergence; single values may be negative |
//! | [`K2`] | `d^2 / 2` | `-d` | biased, but its *gradient* is that of the KL divergence |
//! | [`K3`] | `exp(d) - d - 1` | `1 - exp(d)` | the KL divergence; never negative |
//!
//! The names are those of J. Schulman, "Approximating KL divergence" (2020); GRPO
//! (arXiv 2402.03300, equation 4) uses k3.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lanes::vectorized;
use crate::real::Real;

/// An estimator of the KL divergence `KL(p || p_ref)` from one sampled token.
pub trait KlEstimator<F: Real>: Send + Sync {
    /// The estimate, and its derivative with respect to `logp`.
    fn value_and_grad(&self, logp: F, ref_logp: F) -> (F, F);

    /// The estimates of many tokens; all slices have the same length.
    ///
    /// # Errors
    /// [`Error::Shape`] when the lengths differ.
    fn estimate_into(&self, logps: &[F], ref_logps: &[F], out: &mut [F]) -> Result<()> {
        Error::check_shape("ref_logps", ref_logps.len(), 1, logps.len())?;
        Error::check_shape("out", out.len(), 1, logps.len())?;
        vectorized(
            #[inline(always)]
            || estimate(self, logps, ref_logps, out),
        );
        Ok(())
    }

    /// The estimate corrected for tokens that were sampled from an older policy: `ratio * value`,
    /// where `ratio = p / p_old` is itself differentiated (DeepSeek-V3.2, arXiv 2512.02556).
    fn bias_corrected(&self, logp: F, ref_logp: F, ratio: F) -> CorrectedKl<F> {
        let (value, d_logp) = self.value_and_grad(logp, ref_logp);
        let value = value * ratio;
        CorrectedKl {
            value,
            d_logp: d_logp * ratio,
            d_log_ratio: value,
        }
    }
}

/// The loop of [`KlEstimator::estimate_into`]: a function, so that compilers know its slices apart.
#[inline(always)]
fn estimate<F: Real, K: KlEstimator<F> + ?Sized>(kl: &K, logps: &[F], refs: &[F], out: &mut [F]) {
    for ((value, logp), ref_logp) in out.iter_mut().zip(logps).zip(refs) {
        *value = kl.value_and_grad(*logp, *ref_logp).0;
    }
}

/// A KL estimate that was multiplied by the importance ratio.
///
/// At token level the log ratio is `logp - old_logp`, so the whole derivative with respect to
/// `logp` is `d_logp + d_log_ratio`. At sequence level the second part is shared by the tokens
/// of the row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CorrectedKl<F> {
    /// `ratio * estimate`.
    pub value: F,
    /// `ratio * d estimate / d logp`.
    pub d_logp: F,
    /// `d value / d log ratio`, which is the value itself.
    pub d_log_ratio: F,
}

/// `log p - log p_ref`: unbiased, of either sign, with a gradient that carries no information
/// about the distance (its expectation is zero).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct K1;

/// `(log p - log p_ref)^2 / 2`: biased, of low variance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct K2;

/// `exp(d) - d - 1` with `d = log p_ref - log p`: unbiased and never negative. The paper's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct K3;

impl<F: Real> KlEstimator<F> for K1 {
    #[inline(always)]
    fn value_and_grad(&self, logp: F, ref_logp: F) -> (F, F) {
        (logp - ref_logp, F::ONE)
    }
}

impl<F: Real> KlEstimator<F> for K2 {
    #[inline(always)]
    fn value_and_grad(&self, logp: F, ref_logp: F) -> (F, F) {
        let d = logp - ref_logp;
        (d * d * F::from_f64(0.5), d)
    }
}

impl<F: Real> KlEstimator<F> for K3 {
    #[inline(always)]
    fn value_and_grad(&self, logp: F, ref_logp: F) -> (F, F) {
        let d = ref_logp - logp;
        let e = d.exp();
        (e - d - F::ONE, F::ONE - e)
    }
}

/// The estimators by name, for configuration files: `"k1"`, `"k2"`, `"k3"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kl {
    /// [`K1`].
    K1,
    /// [`K2`].
    K2,
    /// [`K3`], the default: the paper's.
    #[default]
    K3,
}

impl<F: Real> KlEstimator<F> for Kl {
    #[inline(always)]
    fn value_and_grad(&self, logp: F, ref_logp: F) -> (F, F) {
        match self {
            Self::K1 => K1.value_and_grad(logp, ref_logp),
            Self::K2 => K2.value_and_grad(logp, ref_logp),
            Self::K3 => K3.value_and_grad(logp, ref_logp),
        }
    }

    fn estimate_into(&self, logps: &[F], ref_logps: &[F], out: &mut [F]) -> Result<()> {
        // Chosen once, not for each token.
        match self {
            Self::K1 => K1.estimate_into(logps, ref_logps, out),
            Self::K2 => K2.estimate_into(logps, ref_logps, out),
            Self::K3 => K3.estimate_into(logps, ref_logps, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Exact KL divergence, and the expectation of an estimator, for two small distributions.
    fn exact_and_expected(kl: Kl, p: &[f64], q: &[f64]) -> (f64, f64) {
        let mut exact = 0.0;
        let mut expected = 0.0;
        for (p, q) in p.iter().zip(q) {
            exact += p * (p / q).ln();
            expected += p * kl.value_and_grad(p.ln(), q.ln()).0;
        }
        (exact, expected)
    }

    #[test]
    fn k1_and_k3_are_unbiased_and_k2_is_not() {
        let (p, q) = ([0.5, 0.3, 0.2], [0.2, 0.2, 0.6]);
        for kl in [Kl::K1, Kl::K3] {
            let (exact, expected) = exact_and_expected(kl, &p, &q);
            assert!((exact - expected).abs() < 1e-15, "{kl:?}");
        }
        let (exact, expected) = exact_and_expected(Kl::K2, &p, &q);
        assert!((exact - expected).abs() > 1e-3);
    }

    proptest! {
        #[test]
        fn derivatives_agree_with_finite_differences(
            logp in -5.0..0.0f64, ref_logp in -5.0..0.0f64, old in -5.0..0.0f64,
        ) {
            let h = 1e-6;
            for kl in [Kl::K1, Kl::K2, Kl::K3] {
                let at = |x: f64| kl.value_and_grad(x, ref_logp).0;
                let numeric = (at(logp + h) - at(logp - h)) / (2.0 * h);
                let exact = kl.value_and_grad(logp, ref_logp).1;
                prop_assert!((numeric - exact).abs() <= 1e-6 * (1.0 + exact.abs()));

                let at = |x: f64| kl.bias_corrected(x, ref_logp, (x - old).exp()).value;
                let numeric = (at(logp + h) - at(logp - h)) / (2.0 * h);
                let c = kl.bias_corrected(logp, ref_logp, (logp - old).exp());
                let exact = c.d_logp + c.d_log_ratio;
                prop_assert!((numeric - exact).abs() <= 1e-5 * (1.0 + exact.abs()));
            }
        }

        #[test]
        fn k3_is_never_negative_and_zero_at_the_reference(
            logp in -5.0..0.0f64, ref_logp in -5.0..0.0f64,
        ) {
            prop_assert!(K3.value_and_grad(logp, ref_logp).0 >= -1e-15);
            prop_assert_eq!(K3.value_and_grad(logp, logp), (0.0, 0.0));
        }
    }

    #[test]
    fn slices_of_different_length_are_refused() {
        assert!(
            K3.estimate_into(&[0.0f32; 2], &[0.0; 3], &mut [0.0; 2])
                .is_err()
        );
        assert!(
            K3.estimate_into(&[0.0f32; 2], &[0.0; 2], &mut [0.0; 1])
                .is_err()
        );
    }
}
