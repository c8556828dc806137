//! What readers of the paper measure: recipes side by side, new classes, other data sets.

mod base_to_new;
mod compare;
mod cross_dataset;
mod cv_bench_table;
mod evaluate;
mod spread;

pub use base_to_new::{BaseNew, BaseToNew, base_to_new, harmonic_mean};
pub use compare::{Comparison, ComparisonRow};
pub use cross_dataset::{CrossMatrix, cross_dataset};
pub use cv_bench_table::{CvBenchEvaluation, cv_bench};
pub use evaluate::{evaluate, evaluate_with};
pub use spread::Spread;
