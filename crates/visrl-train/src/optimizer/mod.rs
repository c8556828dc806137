//! Gradients by the names of parameters, and what moves the parameters by them.

mod adamw;
mod adamw_state;
mod gradients;
mod learning_rate_schedule;
mod parameter_group;

pub use adamw::{AdamW, AdamWSettings};
pub(crate) use adamw_state::Moments;
pub use gradients::Gradients;
pub(crate) use gradients::widened;
pub use learning_rate_schedule::{Decay, LearningRateSchedule};
pub use parameter_group::{NamePattern, ParameterGroup};
