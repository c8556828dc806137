//! The loss as a configuration.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::evaluation::evaluate;
use crate::loss::aggregation::Aggregation;
use crate::loss::family::{LossFamily, with_surrogate};
use crate::loss_batch::LossBatch;
use crate::policy_loss::{LossSummary, PolicyLoss};
use crate::real::Real;
use crate::shared_options::SharedOptions;

/// A policy loss as a configuration: a family, and the options that all families share.
///
/// The default is the paper's (arXiv 2503.16188): ratio to the detached current policy, mean over
/// the tokens of each sequence, then over sequences, with a k3 KL term of beta 0.04.
///
/// ```
/// use visrl_grpo::{Clipped, GrpoLoss, LossFamily};
/// let text = r#"{"family": {"type": "dapo", "epsilon_high": 0.28}, "terms": {"beta": 0.0}}"#;
/// let dapo: GrpoLoss = serde_json::from_str(text).unwrap();
/// let clip = Clipped { epsilon_high: Some(0.28), ..Clipped::default() };
/// assert_eq!((dapo.family, dapo.terms.beta), (LossFamily::Dapo(clip), 0.0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpoLoss {
    /// The family and its own parameters. In files `loss` is read, too.
    #[serde(alias = "loss")]
    pub family: LossFamily,
    /// The options that all families share.
    pub terms: SharedOptions,
}

impl GrpoLoss {
    /// A family with the default (the paper's) options.
    pub fn new(family: LossFamily) -> Self {
        Self { family, terms: SharedOptions::default() }
    }

    /// Checks every value's range, so that a wrong configuration fails before the first batch.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) naming the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        self.terms.validate()?;
        self.family.validate()
    }

    /// How the family averages over tokens.
    pub fn aggregation(&self) -> Aggregation {
        self.family.aggregation()
    }
}

impl<F: Real> PolicyLoss<F> for GrpoLoss {
    fn evaluate_into(
        &self,
        batch: &LossBatch<'_, F>,
        grad: &mut [F],
        entropy_grad: Option<&mut [F]>,
    ) -> Result<LossSummary> {
        let (how, terms) = (self.aggregation(), &self.terms);
        with_surrogate!(self.family, surrogate => {
            evaluate(surrogate, how, terms, batch, grad, entropy_grad)
        })
    }

    fn options(&self) -> Option<&SharedOptions> {
        Some(&self.terms)
    }

    fn set_step(&mut self, step: u64) {
        self.terms.set_step(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_by_hand_and_beta_by_its_schedule() {
        // One row of two tokens: -A + beta * mean(k3), and its derivative.
        let bare = LossBatch::new(&[2], &[-1.0f64, -2.0], &[0.5]);
        let batch = bare.with_ref_logps(&[-1.5, -1.0]);
        let k3 = |d: f64| d.exp() - d - 1.0;
        let expected = |beta: f64| -0.5 + beta * (k3(-0.5) + k3(1.0)) / 2.0;
        let mut loss: GrpoLoss = serde_json::from_str("{}").unwrap();
        let out = loss.evaluate(&batch).unwrap();
        assert!((out.loss - expected(0.04)).abs() < 1e-15);
        let slope = (-0.5 + 0.04 * (1.0 - (-0.5f64).exp())) / 2.0;
        assert!((out.grad[0] - slope).abs() < 1e-15);
        let line = r#"{"type": "linear", "start": 0.1, "end": 0.0, "steps": 4}"#;
        loss.terms.beta_schedule = serde_json::from_str(line).unwrap();
        for (step, beta) in [(0, 0.1), (2, 0.05), (4, 0.0), (9, 0.0)] {
            PolicyLoss::<f64>::set_step(&mut loss, step);
            let out = loss.evaluate(&batch).unwrap();
            assert!((out.loss - expected(beta)).abs() < 1e-15, "step {step}");
            // From where beta is 0 the reference may be left out.
            assert_eq!(loss.evaluate(&bare).is_ok(), beta == 0.0);
            assert!(PolicyLoss::<f64>::needs_reference(&loss));
        }
    }

    #[test]
    fn files_may_say_loss_for_family_and_values_are_checked() {
        for key in ["loss", "family"] {
            let text = format!(r#"{{"{key}": {{"type": "sapo", "temperature_neg": -1}}}}"#);
            let error = serde_json::from_str::<GrpoLoss>(&text).unwrap().validate();
            assert!(error.unwrap_err().to_string().contains("temperature_neg"));
        }
    }
}
