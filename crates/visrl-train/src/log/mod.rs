//! What a run tells of itself: the metrics of its steps, and the sinks that take them.

mod append;
mod json_lines;
mod line_file;
mod metric_sink;
mod progress;
mod step_metrics;
mod tensor_board;
mod tf_record;
mod warnings;
mod watch;

pub use json_lines::JsonLines;
pub use line_file::LineFile;
pub use metric_sink::MetricSink;
pub use progress::Progress;
pub use step_metrics::{Seconds, StepMetrics};
pub use tensor_board::{Scalar, TensorBoard};
pub use warnings::{Warning, Warnings};
pub use watch::Watch;
