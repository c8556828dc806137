//! Learner, trainers, metrics and evaluation.
//!
//! The [`Learner`] turns a policy loss's coefficients into gradients; a [`GrpoTrainer`] drives the
//! loop of sampling, scoring and learning; an [`Evaluator`] measures a policy; a [`MetricSink`]
//! records the run.
#![forbid(unsafe_code)]

mod config;
mod draw;
mod error;
mod evaluate;
mod gradients;
mod head;
mod learner;
mod metrics;
mod optimizer;
mod padded;
mod parameter_group;
mod recompute;
mod reference;
mod report;
mod rows;
mod schedule;
mod sft;
mod trainer;

pub use config::LearnerConfig;
pub use draw::ExampleDealer;
pub use error::Error;
pub use evaluate::{Answer, Evaluation, Evaluator};
pub use gradients::Gradients;
pub use learner::Learner;
pub use metrics::{JsonLines, MetricSink, Progress, Seconds, StepMetrics};
pub use optimizer::{AdamW, AdamWSettings};
pub use parameter_group::{NamePattern, ParameterGroup};
pub use reference::ReferencePolicy;
pub use report::{LearnReport, Scores};
pub use rows::{LearnGroup, TokenGroup};
pub use schedule::{Decay, Schedule};
pub use sft::SupervisedLoss;
pub use trainer::{GrpoConfig, GrpoTrainer};
