//! CoOp's eleven data sets, each in its own folder beside its lists.

mod aircraft;
mod config;
mod imagenet;
mod set;

pub use config::CoopConfig;
pub use set::CoopSet;
