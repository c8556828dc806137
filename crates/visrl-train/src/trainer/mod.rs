//! Ways of training, and the loop around them: steps, evaluations, checkpoints, and when to stop.

mod grpo_trainer;
mod sft_trainer;
mod train_loop;

pub use grpo_trainer::{GrpoConfig, GrpoTrainer};
pub use sft_trainer::{SftTrainer, supervised};
pub use train_loop::{LoopConfig, NextExamples, Observer, Start, StopCause, TrainLoop, TrainStep};
