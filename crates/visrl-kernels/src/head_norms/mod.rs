//! RMS norms of the heads of queries and of keys (arXiv 2505.09388, section 2).

mod op;
mod plain;
#[cfg(feature = "tch")]
mod tch;

pub use op::HeadNorms;
#[cfg(feature = "tch")]
pub(crate) use tch::SavedHeadNorms;
