use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use visrl_grpo::GroupMetrics;

use crate::learner::{LearnReport, LearnTimes};

/// Seconds that the parts of a step took. They alone differ between two runs of one seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Encoding prompts and sampling completions; of samples that are made meanwhile, on another
    /// thread, the time that they were waited for.
    pub rollout: f64,
    /// Where samples are made on another thread: what the engine worked on those of the step, which
    /// is no part of the step's own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<f64>,
    /// Where samples are made on another thread: what the engine had nothing to do before them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_idle: Option<f64>,
    /// Scoring completions.
    pub reward: f64,
    /// Updating the policy.
    pub learn: f64,
    /// The phases of the learner's update, which are a part of `learn`.
    #[serde(default)]
    pub learn_phases: LearnTimes,
}

impl Seconds {
    /// All of the step.
    pub fn total(&self) -> f64 {
        self.rollout + self.reward + self.learn
    }
}

/// What a training step did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The step, counted from 0.
    pub step: usize,
    /// Mean reward of the completions that could be scored, all rules added up; 0 in supervised
    /// training.
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
    /// Groups in which some completion has an advantage.
    #[serde(default)]
    pub effective_groups: usize,
    /// What the loss saw, by the names of [`LossMetrics::named`](visrl_grpo::LossMetrics::named),
    /// such as `ratio/max` and `clip/region`, and of [`Drift::named`](crate::Drift::named).
    #[serde(default)]
    pub loss_metrics: BTreeMap<String, f64>,
    /// Optimizer steps between the policy that sampled and the one that learnt; 0 where one waits
    /// for the other.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub staleness: usize,
    /// Why the step could teach nothing, and what to do about it; nothing where it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<String>,
    /// What the run warned of in the step, and in the first step what it warned of before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Where the time went.
    pub seconds: Seconds,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl StepMetrics {
    /// Takes what the groups of the step looked like.
    pub fn record_groups(&mut self, groups: &GroupMetrics) {
        self.reward = groups.mean_reward;
        self.all_right = groups.fraction(groups.all_right);
        self.all_wrong = groups.fraction(groups.all_wrong);
        self.no_variance = groups.fraction(groups.zero_variance);
        self.diagnosis = groups.diagnosis().map(|found| found.to_string());
    }

    /// Takes what an update did. Where the groups could teach, the loss is asked whether its masks
    /// and bounds left something of them.
    pub fn record_update(&mut self, report: &LearnReport) {
        self.loss = report.loss;
        self.kl = report.metrics.kl().unwrap_or(0.0);
        self.entropy = report.metrics.entropy().unwrap_or(0.0);
        self.grad_norm = report.grad_norm;
        self.effective_groups = report.effective_groups;
        // A file of JSON has no infinity.
        let drift = report.drift.iter().flat_map(|drift| drift.named());
        let named = report.metrics.named().chain(drift);
        self.loss_metrics = named
            .filter(|(_, value)| value.is_finite())
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        if self.diagnosis.is_none() {
            self.diagnosis = report.metrics.diagnosis().map(|found| found.to_string());
        }
        self.seconds.learn_phases = report.times;
    }

    /// Takes where the time went; the phases of the update stay as they were recorded.
    pub(crate) fn set_seconds(&mut self, seconds: Seconds) {
        self.seconds = Seconds {
            learn_phases: self.seconds.learn_phases,
            ..seconds
        };
    }

    /// Tokens of completions per second of the step; nothing for a step that took no time.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let seconds = self.seconds.total();
        (seconds > 0.0).then(|| self.tokens as f64 / seconds)
    }
}
