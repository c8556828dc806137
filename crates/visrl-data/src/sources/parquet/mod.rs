//! Parquet files as the Hugging Face hub has them. Reading them is the feature `parquet`; their
//! configuration is there without it, so that a run file means the same in every build.

#[cfg(feature = "parquet")]
pub(crate) mod columns;
mod config;
#[cfg(feature = "parquet")]
mod guard;
pub(crate) mod limits;
#[cfg(feature = "parquet")]
pub(crate) mod note;
mod open;
#[cfg(feature = "parquet")]
mod page;
#[cfg(feature = "parquet")]
pub(crate) mod table;
#[cfg(feature = "parquet")]
mod thrift;

pub use config::ParquetConfig;
pub use limits::ParquetLimits;
