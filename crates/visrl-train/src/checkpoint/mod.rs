//! Checkpoints of a training run: folders `step-N` that are there whole or not at all.
//!
//! ```text
//! step-40/parameters/     trained parameters, safetensors
//! step-40/moments/        the optimizer's moments by the names of parameters, safetensors
//! step-40/state.json      what a run knows beyond tensors: TrainState
//! step-40/manifest.json   every file with its size and SHA-256
//! step-40/manifest.sha256 the manifest's own SHA-256
//! ```

mod checkpoint_store;
mod learner_state;
mod resume;
mod train_state;

pub use checkpoint_store::{Checkpoint, CheckpointStore};
pub use learner_state::LearnerState;
pub use train_state::TrainState;
