//! Rollouts on a server that others run: vLLM. All but the settings is of the feature `remote`.
//!
//! | file | what stands there |
//! |---|---|
//! | `config` | where the server is, and how long it is waited for |
//! | `client` | requests with time-outs, and what went wrong with them |
//! | `server` | what an engine asks of a kind of server |
//! | `vllm` | vLLM's form of it |
//! | `answer` | what a server may not answer |
//! | `images` | pictures as the model sees them |
//! | `work` | many requests at once, again where a server was busy |
//! | `weights` | new weights over a shared folder, and whether the server still has them |
//! | `engine` | the engine |

#[cfg(feature = "remote")]
mod answer;
#[cfg(feature = "remote")]
mod client;
mod config;
#[cfg(feature = "remote")]
mod engine;
#[cfg(feature = "remote")]
mod images;
#[cfg(feature = "remote")]
mod server;
#[cfg(feature = "remote")]
mod vllm;
#[cfg(feature = "remote")]
mod weights;
#[cfg(feature = "remote")]
mod work;

pub use config::RemoteConfig;
#[cfg(feature = "remote")]
pub use engine::RemoteEngine;
#[cfg(feature = "remote")]
pub use work::RemoteCounts;
