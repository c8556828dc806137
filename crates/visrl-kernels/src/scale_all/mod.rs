//! Many vectors multiplied by one number.

mod op;
#[cfg(feature = "tch")]
mod tch;

pub use op::scale_all;
