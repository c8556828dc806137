//! Attention of one new token of each row to the row's own cache, rows of any length together: the
//! step of an engine that decodes many sequences at once.

#[cfg(feature = "cubecl")]
mod cube;
mod op;
mod plain;
#[cfg(feature = "tch")]
mod tch;

pub use op::DecodeAttention;
