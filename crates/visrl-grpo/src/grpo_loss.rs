//! The loss as a configuration.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::evaluation::evaluate;
use crate::loss::aggregation::Aggregation;
use crate::loss::family::LossFamily;
use crate::loss::surrogate::Surrogate;
use crate::loss_batch::LossBatch;
use crate::normalization::Normalization;
use crate::policy_loss::{LossSummary, PolicyLoss};
use crate::real::Real;
use crate::shared_options::SharedOptions;

/// A policy loss as a configuration: a family, and the options that all families share.
///
/// The default is the paper's (arXiv 2503.16188): ratio to the detached current policy, mean over
/// the tokens of each sequence, then over sequences, with a k3 KL term of beta 0.04.
///
/// ```
/// use visrl_grpo::{Clipped, GrpoLoss, LossFamily, SharedOptions};
/// let dapo = GrpoLoss {
///     family: LossFamily::Dapo(Clipped { epsilon_high: Some(0.28), ..Clipped::default() }),
///     terms: SharedOptions { beta: 0.0, ..SharedOptions::default() },
/// };
/// let text = r#"{"family": {"type": "dapo", "epsilon_high": 0.28}, "terms": {"beta": 0.0}}"#;
/// assert_eq!(serde_json::from_str::<GrpoLoss>(text).unwrap(), dapo);
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
        Self {
            family,
            terms: SharedOptions::default(),
        }
    }

    /// Checks every value's range, so that a wrong configuration fails before the first batch.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) naming the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        self.terms.validate()?;
        match &self.family {
            LossFamily::PaperClsRl(s) => Surrogate::<f64>::validate(s),
            LossFamily::Grpo(s)
            | LossFamily::Bnpo(s)
            | LossFamily::Dapo(s)
            | LossFamily::Luspo(s) => Surrogate::<f64>::validate(s),
            LossFamily::DrGrpo(d) => Surrogate::<f64>::validate(&d.clip),
            LossFamily::Cispo(s) => Surrogate::<f64>::validate(s),
            LossFamily::Sapo(s) => Surrogate::<f64>::validate(s),
            LossFamily::Vespo(s) => Surrogate::<f64>::validate(s),
        }
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
        match &self.family {
            LossFamily::PaperClsRl(s) => evaluate(s, how, terms, batch, grad, entropy_grad),
            LossFamily::Grpo(s)
            | LossFamily::Bnpo(s)
            | LossFamily::Dapo(s)
            | LossFamily::Luspo(s) => evaluate(s, how, terms, batch, grad, entropy_grad),
            LossFamily::DrGrpo(d) => evaluate(&d.clip, how, terms, batch, grad, entropy_grad),
            LossFamily::Cispo(s) => evaluate(s, how, terms, batch, grad, entropy_grad),
            LossFamily::Sapo(s) => evaluate(s, how, terms, batch, grad, entropy_grad),
            LossFamily::Vespo(s) => evaluate(s, how, terms, batch, grad, entropy_grad),
        }
    }

    fn normalization(&self, batch: &LossBatch<'_, F>) -> Result<Normalization> {
        self.terms.normalization(batch)
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
    use crate::beta_schedule::BetaSchedule;
    use crate::loss::sapo::Sapo;

    #[test]
    fn the_default_is_the_paper() {
        let loss = GrpoLoss::default();
        assert_eq!(loss.family.name(), "paper_cls_rl");
        assert_eq!(loss.aggregation(), Aggregation::SequenceMean);
        assert_eq!(loss.terms.beta, 0.04);
        assert_eq!(serde_json::from_str::<GrpoLoss>("{}").unwrap(), loss);
        assert!(loss.validate().is_ok());
    }

    #[test]
    fn files_may_say_loss_for_family() {
        let read = |key| serde_json::from_str(&format!(r#"{{"{key}": {{"type": "sapo"}}}}"#));
        let (old, new): (GrpoLoss, GrpoLoss) = (read("loss").unwrap(), read("family").unwrap());
        assert_eq!((old, old.family.name()), (new, "sapo"));
    }

    #[test]
    fn the_paper_by_hand() {
        // One row of two tokens: -A + beta * mean(k3), and its derivative.
        let batch = LossBatch::new(&[2], &[-1.0f64, -2.0], &[0.5]).with_ref_logps(&[-1.5, -1.0]);
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
        let bare = LossBatch::new(&[1], &[-1.0f64], &[0.0]);
        let batch = bare.with_ref_logps(&[-1.5]);
        let k3 = (-0.5f64).exp() - 0.5;
        for (step, beta) in [(0, 0.1), (2, 0.05), (4, 0.0), (9, 0.0)] {
            PolicyLoss::<f64>::set_step(&mut loss, step);
            let out = loss.evaluate(&batch).unwrap();
            assert!((out.loss - beta * k3).abs() < 1e-15, "step {step}");
            assert!(PolicyLoss::<f64>::needs_reference(&loss));
        }
        // From where beta is 0 the reference may be left out.
        assert!(loss.evaluate(&bare).is_ok());
        PolicyLoss::<f64>::set_step(&mut loss, 0);
        assert!(loss.evaluate(&bare).is_err());
        loss.terms.beta_schedule = Some(BetaSchedule::Constant { value: -1.0 });
        assert!(loss.validate().is_err());
    }

    #[test]
    fn wrong_parameters_fail_before_the_first_batch() {
        let loss = GrpoLoss::new(LossFamily::Sapo(Sapo {
            temperature_neg: -1.0,
            ..Sapo::default()
        }));
        let error = loss.validate().unwrap_err();
        assert!(error.to_string().contains("temperature_neg"));
    }
}
