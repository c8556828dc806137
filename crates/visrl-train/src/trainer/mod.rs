//! Ways of training, and the loop around them: steps, evaluations, checkpoints, and when to stop.

mod advantages;
mod async_grpo_trainer;
mod dynamic_sampling;
mod group_summary;
mod grpo_trainer;
mod interrupt;
mod loop_config;
mod observer;
mod scored_group;
mod sft_trainer;
mod supervision;
mod train_loop;
mod train_step;
mod validation;

pub use async_grpo_trainer::AsyncGrpoTrainer;
pub use grpo_trainer::{GrpoConfig, GrpoTrainer};
pub use interrupt::Interrupt;
pub use loop_config::{LoopConfig, StopCause};
pub use observer::Observer;
pub use scored_group::ScoredGroup;
pub use sft_trainer::SftTrainer;
pub use supervision::{Supervision, conversation, supervised, supervised_conversation};
pub use train_loop::{Start, StopCondition, TrainLoop};
pub use train_step::{NextExamples, StepContext, TrainStep};
pub use validation::Validation;
