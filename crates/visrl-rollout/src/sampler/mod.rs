//! Drawing tokens from logits.
//!
//! | file | what stands there |
//! |---|---|
//! | `params` | the settings of a request |
//! | `context` | what a draw depends on beside logits and settings |
//! | `sample` | from a row of logits to a token: all of the below in order |
//! | `filters` | penalty, bans, temperature, top-k, top-p, min-p, typical-p, a file each |
//! | `candidates` | the tokens that the filters have left |
//! | `distribution` | the same, to look at |
//! | `draw` | the counter-based random number and the token it falls on |
//! | `log_softmax`, `select`, `vector` | sums over a vocabulary; cuts without sorting |
//!
//! A vocabulary of 152,000 ids is gone over a few times in plain loops, and never sorted: top-k
//! keeps the k largest in a small buffer, top-p and typical-p halve the candidates around the cut.

mod candidates;
mod context;
mod distribution;
mod draw;
mod filters;
mod log_softmax;
mod params;
mod sample;
mod select;
mod vector;

pub use context::SamplingContext;
pub use distribution::Distribution;
pub use draw::DrawCounter;
pub use params::SamplingParams;
pub use sample::{SampledToken, Sampler};
