//! Linear maps: a product with a bias, and both products of the gradient.

#[cfg(feature = "flex")]
mod flex;
mod op;
mod plain;
#[cfg(feature = "tch")]
mod tch;

pub use op::{FEW_ROWS, linear, linear_onto, matmul};
