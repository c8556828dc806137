//! The engine that runs the model in this process.
//!
//! | file | what stands there |
//! |---|---|
//! | `engine` | the loop: schedule and encode, decode, collect |
//! | `config` | its settings, which other engines share |
//! | `prefill` | encoding the prompts of groups that enter |
//! | `prefix_cache` | prompts that are kept encoded |
//! | `decode` | one token of every row |
//! | `policy` | the weights that are sampled from |

mod config;
mod decode;
mod engine;
mod policy;
mod prefill;
mod prefix_cache;

pub use config::{EngineConfig, EngineKind};
pub use engine::NativeEngine;
pub(crate) use prefill::Prefiller;
