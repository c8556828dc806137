//! CV-Bench: multiple-choice questions about pictures, in four tasks.

mod config;
mod dataset;
mod json_lines;
#[cfg(feature = "parquet")]
mod parquet;
mod row;
mod task;

pub use config::CvBenchConfig;
pub use dataset::CvBench;
pub use task::{CvBenchFacts, CvBenchTask};
