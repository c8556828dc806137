//! Measuring a policy, and the tables that measurements make.

mod confusion;
mod cv_bench;
mod evaluator;
mod guided;
mod result;
mod tables;

pub use confusion::{ClassAccuracy, ConfusionMatrix};
pub use cv_bench::{CvBenchAccuracy, TaskAccuracy};
pub use evaluator::Evaluator;
pub use result::{Agreement, Answer, Evaluation};
pub use tables::{BaseNew, CrossMatrix, Spread, harmonic_mean};
