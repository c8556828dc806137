//! Log-probabilities of tokens under the head's logits with their entropies, and back.

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod op;
mod plain;
#[cfg(feature = "tch")]
mod tch;

pub use op::{LogSoftmax, RowGradients, log_softmax, log_softmax_backward};
