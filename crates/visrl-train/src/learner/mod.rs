//! From groups of completions with advantages to an updated policy.

mod batch;
mod clock;
mod config;
mod decoder;
mod decoder_rows;
mod drift;
mod forward_backward;
mod groups;
mod head;
#[allow(clippy::module_inception)]
mod learner;
mod log_probs;
mod loss_inputs;
mod memory;
mod recompute;
mod reference;
mod report;

pub use config::LearnerConfig;
pub use drift::Drift;
pub use groups::{LearnGroup, TokenGroup};
pub use learner::Learner;
pub use log_probs::LogProbs;
pub use memory::{MemoryPlan, MemoryShape, ParameterSize, Workload, peak_memory, resident_memory};
pub use reference::ReferencePolicy;
pub use report::{LearnReport, LearnTimes};
