//! The loss as a configuration.

use serde::{Deserialize, Serialize};

use crate::batch::TokenBatch;
use crate::error::Result;
use crate::kernel;
use crate::loss::{Aggregation, Loss, Surrogate};
use crate::normalization::Normalization;
use crate::policy_loss::{LossSummary, PolicyLoss};
use crate::real::Real;
use crate::terms::Terms;

/// A policy loss as a configuration: a family, and the options that all families share.
///
/// The default is the paper's (arXiv 2503.16188): ratio to the detached current policy, mean over
/// the tokens of each sequence, then over sequences, with a k3 KL term of beta 0.04.
///
/// ```
/// use visrl_grpo::{Clipped, GrpoLoss, Loss, Terms};
/// let dapo = GrpoLoss {
///     loss: Loss::Dapo(Clipped { epsilon_high: Some(0.28), ..Clipped::default() }),
///     terms: Terms { beta: 0.0, ..Terms::default() },
/// };
/// let text = r#"{"loss": {"type": "dapo", "epsilon_high": 0.28}, "terms": {"beta": 0.0}}"#;
/// assert_eq!(serde_json::from_str::<GrpoLoss>(text).unwrap(), dapo);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpoLoss {
    /// The family and its own parameters.
    pub loss: Loss,
    /// The options that all families share.
    pub terms: Terms,
}

impl GrpoLoss {
    /// A family with the default (the paper's) terms.
    pub fn new(loss: Loss) -> Self {
        Self {
            loss,
            terms: Terms::default(),
        }
    }

    /// Checks every value's range, so that a wrong configuration fails before the first batch.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) naming the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        self.terms.validate()?;
        match &self.loss {
            Loss::PaperClsRl(s) => Surrogate::<f64>::validate(s),
            Loss::Grpo(s) | Loss::Bnpo(s) | Loss::Dapo(s) | Loss::Luspo(s) => {
                Surrogate::<f64>::validate(s)
            }
            Loss::DrGrpo(d) => Surrogate::<f64>::validate(&d.clip),
            Loss::Cispo(s) => Surrogate::<f64>::validate(s),
            Loss::Sapo(s) => Surrogate::<f64>::validate(s),
            Loss::Vespo(s) => Surrogate::<f64>::validate(s),
        }
    }

    pub(crate) fn evaluate_family<F: Real>(
        &self,
        batch: &TokenBatch<'_, F>,
        grad: &mut [F],
        entropy_grad: Option<&mut [F]>,
    ) -> Result<LossSummary> {
        let (how, terms) = (self.aggregation(), &self.terms);
        match &self.loss {
            Loss::PaperClsRl(s) => kernel::evaluate(s, how, terms, batch, grad, entropy_grad),
            Loss::Grpo(s) | Loss::Bnpo(s) | Loss::Dapo(s) | Loss::Luspo(s) => {
                kernel::evaluate(s, how, terms, batch, grad, entropy_grad)
            }
            Loss::DrGrpo(d) => kernel::evaluate(&d.clip, how, terms, batch, grad, entropy_grad),
            Loss::Cispo(s) => kernel::evaluate(s, how, terms, batch, grad, entropy_grad),
            Loss::Sapo(s) => kernel::evaluate(s, how, terms, batch, grad, entropy_grad),
            Loss::Vespo(s) => kernel::evaluate(s, how, terms, batch, grad, entropy_grad),
        }
    }

    /// How the family averages over tokens.
    pub fn aggregation(&self) -> Aggregation {
        self.loss.aggregation()
    }
}

impl<F: Real> PolicyLoss<F> for GrpoLoss {
    fn evaluate_into(
        &self,
        batch: &TokenBatch<'_, F>,
        grad: &mut [F],
        entropy_grad: Option<&mut [F]>,
    ) -> Result<LossSummary> {
        F::evaluate(self, batch, grad, entropy_grad)
    }

    fn normalization(&self, batch: &TokenBatch<'_, F>) -> Result<Normalization> {
        self.terms.check(batch)?;
        Ok(self.terms.count(batch))
    }

    fn set_step(&mut self, step: u64) {
        self.terms.set_step(step);
    }

    fn needs_reference(&self) -> bool {
        self.terms.needs_reference()
    }

    fn needs_entropies(&self) -> bool {
        self.terms.needs_entropies()
    }

    fn has_entropy_grad(&self) -> bool {
        self.terms.entropy_coef != 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Sapo;

    #[test]
    fn the_default_is_the_paper() {
        let loss = GrpoLoss::default();
        assert_eq!(loss.loss.name(), "paper_cls_rl");
        assert_eq!(loss.aggregation(), Aggregation::SequenceMean);
        assert_eq!(loss.terms.beta, 0.04);
        assert_eq!(serde_json::from_str::<GrpoLoss>("{}").unwrap(), loss);
        assert!(loss.validate().is_ok());
    }

    #[test]
    fn the_paper_by_hand() {
        // One row of two tokens: -A + beta * mean(k3), and its derivative.
        let (logps, reference) = ([-1.0f64, -2.0], [-1.5, -1.0]);
        let batch = TokenBatch::new(2, &logps, &[true, true], &[0.5]).with_ref_logps(&reference);
        let out = GrpoLoss::default().evaluate(&batch).unwrap();
        let k3 = |d: f64| d.exp() - d - 1.0;
        let expected = -0.5 + 0.04 * (k3(-0.5) + k3(1.0)) / 2.0;
        assert!((out.loss - expected).abs() < 1e-15);
        let expected = (-0.5 + 0.04 * (1.0 - (-0.5f64).exp())) / 2.0;
        assert!((out.grad[0] - expected).abs() < 1e-15);
        assert_eq!(out.metrics.mean_ratio(), 1.0);
    }

    #[test]
    fn beta_follows_its_schedule() {
        let text = r#"{"terms": {"beta_schedule":
            {"type": "linear", "start": 0.1, "end": 0.0, "steps": 4}}}"#;
        let mut loss: GrpoLoss = serde_json::from_str(text).unwrap();
        let (logps, reference) = ([-1.0f64], [-1.5]);
        let batch = TokenBatch::new(1, &logps, &[true], &[0.0]).with_ref_logps(&reference);
        let k3 = (-0.5f64).exp() - 0.5;
        for (step, beta) in [(0, 0.1), (2, 0.05), (4, 0.0), (9, 0.0)] {
            PolicyLoss::<f64>::set_step(&mut loss, step);
            let out = loss.evaluate(&batch).unwrap();
            assert!((out.loss - beta * k3).abs() < 1e-15, "step {step}");
            assert!(PolicyLoss::<f64>::needs_reference(&loss));
        }
        // From where beta is 0 the reference may be left out.
        let bare = TokenBatch::new(1, &logps, &[true], &[0.0]);
        assert!(loss.evaluate(&bare).is_ok());
        PolicyLoss::<f64>::set_step(&mut loss, 0);
        assert!(loss.evaluate(&bare).is_err());
        loss.terms.beta_schedule = Some(crate::Schedule::Constant { value: -1.0 });
        assert!(loss.validate().is_err());
    }

    #[test]
    fn wrong_parameters_fail_before_the_first_batch() {
        let loss = GrpoLoss::new(Loss::Sapo(Sapo {
            temperature_neg: -1.0,
            ..Sapo::default()
        }));
        assert!(
            loss.validate()
                .unwrap_err()
                .to_string()
                .contains("temperature_neg")
        );
    }
}
