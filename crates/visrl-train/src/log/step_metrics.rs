use serde::{Deserialize, Serialize};

/// Seconds that the parts of a step took. They alone differ between two runs of one seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Encoding prompts and sampling completions.
    pub rollout: f64,
    /// Scoring completions.
    pub reward: f64,
    /// Updating the policy.
    pub learn: f64,
}

impl Seconds {
    /// All of them.
    pub fn total(&self) -> f64 {
        self.rollout + self.reward + self.learn
    }
}

/// What a training step did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The step, counted from 0.
    pub step: usize,
    /// Mean reward over completions, all rules added up; 0 in supervised training.
    pub reward: f64,
    /// Mean score of each rule, by name.
    pub rewards: Vec<(String, f64)>,
    /// Share of groups in which every completion has the highest possible reward.
    pub all_right: f64,
    /// Share of groups in which every completion has the lowest possible reward.
    pub all_wrong: f64,
    /// Share of groups whose rewards are all equal: they teach nothing.
    pub no_variance: f64,
    /// Mean number of tokens of a completion, end token included.
    pub completion_length: f64,
    /// Share of completions cut at the length limit.
    pub truncated: f64,
    /// Tokens of all completions, end tokens included.
    #[serde(default)]
    pub tokens: usize,
    /// Further prompts that were asked because groups had no variance.
    #[serde(default)]
    pub resampled: usize,
    /// The loss before the update.
    pub loss: f64,
    /// Mean KL estimate against the reference policy, per token.
    pub kl: f64,
    /// Mean entropy of the policy's distributions in nats.
    pub entropy: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Where the time went.
    pub seconds: Seconds,
}

impl StepMetrics {
    /// Tokens of completions per second of the step; nothing for a step that took no time.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let seconds = self.seconds.total();
        (seconds > 0.0).then(|| self.tokens as f64 / seconds)
    }
}
