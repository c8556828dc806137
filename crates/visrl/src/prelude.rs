//! What a fine-tuning program names: `use visrl::prelude::*`.

pub use visrl_core::{Example, ImageSource};
pub use visrl_data::{ChoiceRule, Dataset, FashionMnist, MemoryDataset, Record, Split, few_shot};
pub use visrl_grpo::{GrpoLoss, PolicyLoss};
pub use visrl_reward::{Answered, RewardRule, RewardSet, Rule, rule_fn};
pub use visrl_rollout::SamplingParams;
pub use visrl_train::{
    EvaluationPoint, Interrupt, MetricSink, Observer, ScoredGroup, StepMetrics, StopCause,
};
pub use visrl_vlm::{LoraConfig, Pretrained, QwenVl, VisionLanguageModel};

pub use crate::before_after::Accuracy;
pub use crate::device::parse_device;
pub use crate::error::Error;
pub use crate::evaluation_setting::EvaluationSetting;
pub use crate::fine_tune::FineTune;
pub use crate::loss_setting::LossSetting;
pub use crate::recipe::{Objective, Recipe};
pub use crate::registry::Registry;
pub use crate::run_config::RunConfig;
pub use crate::summary::Summary;
pub use crate::trainer::{Outcome, Trainer};
