//! How far the policy has moved from the reference, estimated from sampled tokens.

use serde::{Deserialize, Serialize};

use crate::real::Real;

/// An estimator of the KL divergence `KL(p || p_ref)` from one token sampled from `p`. With
/// `d = log p_ref - log p`:
///
/// | estimator | value | d value / d log p | expectation |
/// |---|---|---|---|
/// | `k1` | `-d` | `1` | the KL divergence; single values may be negative |
/// | `k2` | `d^2 / 2` | `-d` | biased, but its *gradient* is that of the KL divergence |
/// | `k3` | `exp(d) - d - 1` | `1 - exp(d)` | the KL divergence; never negative |
///
/// The names are those of J. Schulman, "Approximating KL divergence" (2020), and of configuration
/// files; GRPO (arXiv 2402.03300, equation 4) uses k3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// Unbiased, of either sign, with a gradient that carries no information about the distance
    /// (its expectation is zero).
    K1,
    /// Biased, of low variance.
    K2,
    /// Unbiased and never negative. The default: the paper's.
    #[default]
    K3,
}

impl KlEstimator {
    /// The estimate, and its derivative with respect to `logp`.
    #[inline]
    pub fn value_and_grad<F: Real>(self, logp: F, ref_logp: F) -> (F, F) {
        let d = ref_logp - logp;
        match self {
            Self::K1 => (-d, F::ONE),
            Self::K2 => (d * d * F::from_f64(0.5), -d),
            Self::K3 => {
                let e = d.exp();
                (e - d - F::ONE, F::ONE - e)
            }
        }
    }
}

#[cfg(test)]
#[test]
fn k1_and_k3_are_unbiased() {
    let (p, q) = ([0.5, 0.3, 0.2f64], [0.2, 0.2, 0.6f64]);
    let mean = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        p.iter().zip(&q).map(|(p, q)| p * f(p.ln(), q.ln())).sum()
    };
    let exact = mean(&|logp, reference| logp - reference);
    for kl in [KlEstimator::K1, KlEstimator::K3] {
        assert!(
            (mean(&|logp, reference| kl.value_and_grad(logp, reference).0) - exact).abs() < 1e-15
        );
    }
}
