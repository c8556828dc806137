//! From groups of completions with advantages to an updated policy.

mod config;
mod head;
#[allow(clippy::module_inception)]
mod learner;
mod memory;
mod padded;
mod recompute;
mod reference;
mod report;
mod rows;
mod supervised_loss;

pub use config::LearnerConfig;
pub use learner::Learner;
pub use memory::{MemoryPlan, Workload, peak_memory, resident_memory};
pub use reference::ReferencePolicy;
pub use report::{LearnReport, LearnTimes, Scores};
pub use rows::{LearnGroup, TokenGroup};
pub use supervised_loss::SupervisedLoss;
