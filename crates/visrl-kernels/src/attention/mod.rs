//! Grouped-query attention (arXiv 2305.13245) of rows to the prefix that their group shares and to
//! their own tokens.

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
pub(crate) mod flex;
mod op;
mod plain;
mod segment;
mod shared_prefix;
#[cfg(feature = "tch")]
mod tch;

pub use op::attend;
pub use segment::Segment;
