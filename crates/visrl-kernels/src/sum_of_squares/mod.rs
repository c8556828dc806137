//! The sum of squares of many tensors' numbers, for the norm of a gradient.

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod op;
mod plain;
#[cfg(feature = "tch")]
mod tch;

pub use op::sum_of_squares;
