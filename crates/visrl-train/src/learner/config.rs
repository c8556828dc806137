use serde::{Deserialize, Serialize};
use visrl_grpo::ReferenceRefresh;
use visrl_vlm::Trainable;

use super::reference::ReferencePolicy;
use crate::error::Error;
use crate::optimizer::{AdamWSettings, ParameterGroup};

/// The most optimizer updates per batch: far more than any use.
const MOST_UPDATES: usize = 1 << 16;

/// How a [`Learner`](crate::Learner) updates the policy. The defaults are the paper's where it says
/// one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnerConfig {
    /// The optimizer.
    pub adamw: AdamWSettings,
    /// Parameters with a learning rate or weight decay of their own; the first group that a
    /// parameter belongs to counts. Default none.
    pub parameter_groups: Vec<ParameterGroup>,
    /// The largest global norm of the gradient.
    pub max_grad_norm: f64,
    /// Optimizer updates per batch of completions; from the second on, the log-probabilities of
    /// the first are the old policy's.
    pub updates_per_batch: usize,
    /// Groups that run through the model together; 0 takes all. The result does not depend on it.
    pub micro_batch_groups: usize,
    /// Whether image and prompt are encoded once for all completions of a group (default), or once
    /// for each, as a plain repeated batch does. The result is the same up to rounding; without
    /// sharing it costs time and memory, and is there to check this with.
    pub shared_prefix: bool,
    /// Layers whose activations are computed again together in the backward pass instead of being
    /// kept from the forward pass; 0 (default) keeps all. The result is the same up to rounding. It
    /// saves memory that grows with layers times tokens, for the time of one more forward pass;
    /// about the square root of the number of layers saves most. The vision tower's activations
    /// are kept in any case while its backward pass runs.
    pub recompute: usize,
    /// Tokens that go through the head together.
    pub head_chunk: usize,
    /// The parts of the model that are trained.
    pub trainable: Trainable,
    /// What the KL term compares the policy with, where the loss has one.
    pub reference: ReferencePolicy,
    /// When and how the reference follows the policy. By default it never does, as in the paper.
    pub reference_refresh: ReferenceRefresh,
}

impl Default for LearnerConfig {
    fn default() -> Self {
        Self {
            adamw: AdamWSettings::default(),
            parameter_groups: Vec::new(),
            max_grad_norm: 1.0,
            updates_per_batch: 1,
            micro_batch_groups: 0,
            shared_prefix: true,
            recompute: 0,
            head_chunk: 1024,
            trainable: Trainable::default(),
            reference: ReferencePolicy::default(),
            reference_refresh: ReferenceRefresh::default(),
        }
    }
}

impl LearnerConfig {
    /// Checks every number.
    ///
    /// # Errors
    /// [`Error::Config`] names the first that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |field, good: bool, found: &dyn std::fmt::Display, expected: &str| match good {
            true => Ok(()),
            false => Err(Error::config(
                field,
                format!("is {found}, expected {expected}"),
            )),
        };
        self.adamw.validate()?;
        for (number, group) in self.parameter_groups.iter().enumerate() {
            group.validate(number + 1)?;
        }
        let norm = self.max_grad_norm;
        let expected = "a number above 0, a large one (1e9) to clip nothing";
        check(
            "max_grad_norm",
            norm > 0.0 && norm.is_finite(),
            &norm,
            expected,
        )?;
        let updates = self.updates_per_batch;
        let few = (1..=MOST_UPDATES).contains(&updates);
        check(
            "updates_per_batch",
            few,
            &updates,
            &format!("1 to {MOST_UPDATES}"),
        )?;
        let chunk = self.head_chunk;
        check("head_chunk", chunk > 0, &chunk, "at least 1")?;
        self.reference_refresh
            .validate()
            .map_err(|error| match error {
                visrl_grpo::Error::Config {
                    field,
                    value,
                    allowed,
                } => {
                    let field = match field {
                        "every" => "reference_refresh.every",
                        _ => "reference_refresh.mix",
                    };
                    Error::config(field, format!("is {value}, expected {allowed}"))
                }
                other => other.into(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_out_of_its_range_is_named() {
        assert!(LearnerConfig::default().validate().is_ok());
        for (text, field) in [
            (r#"{"max_grad_norm": -1}"#, "max_grad_norm"),
            (r#"{"max_grad_norm": 0}"#, "max_grad_norm"),
            (r#"{"updates_per_batch": 0}"#, "updates_per_batch"),
            (
                r#"{"updates_per_batch": 18446744073709551615}"#,
                "updates_per_batch",
            ),
            (r#"{"head_chunk": 0}"#, "head_chunk"),
            (r#"{"adamw": {"betas": [1, 0.9]}}"#, "adamw.betas"),
            (r#"{"adamw": {"betas": [0.9, -0.1]}}"#, "adamw.betas"),
            (r#"{"adamw": {"epsilon": 0}}"#, "adamw.epsilon"),
            (r#"{"adamw": {"weight_decay": -0.1}}"#, "adamw.weight_decay"),
            (
                r#"{"parameter_groups": [{"learning_rate": -1}]}"#,
                "parameter_groups",
            ),
            (
                r#"{"parameter_groups": [{"weight_decay": -1}]}"#,
                "parameter_groups",
            ),
            (
                r#"{"reference_refresh": {"every": 0}}"#,
                "reference_refresh.every",
            ),
            (
                r#"{"reference_refresh": {"mix": {"type": "constant", "value": 2}}}"#,
                "reference_refresh.mix",
            ),
        ] {
            let config: LearnerConfig = serde_json::from_str(text).unwrap();
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{field}` ")), "{error}");
        }
        for bad in [f64::NAN, f64::INFINITY] {
            let config = LearnerConfig {
                max_grad_norm: bad,
                ..LearnerConfig::default()
            };
            assert!(config.validate().is_err());
        }
    }
}
