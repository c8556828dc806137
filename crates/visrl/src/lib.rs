//! Fine-tune vision-language models for visual classification by rule-based reinforcement
//! learning, in Rust.
#![forbid(unsafe_code)]

mod device;
pub mod fine_tune;
mod recipe;
mod summary;

pub use device::{DeviceError, parse_device};
pub use fine_tune::FineTune;
pub use recipe::Recipe;
pub use summary::{Accuracy, Summary};

pub use visrl_core as core;
pub use visrl_data as data;
pub use visrl_grpo as grpo;
pub use visrl_reward as reward;
pub use visrl_rollout as rollout;
pub use visrl_train as train;
pub use visrl_vlm as vlm;
