//! Rotary positions (arXiv 2104.09864): turning pairs of numbers by tables of angles.

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod op;
mod plain;
mod table;
#[cfg(feature = "tch")]
mod tch;

pub use table::RotationTable;
