//! Measuring a policy, and what a measurement finds.

mod closed_answer;
mod confusion;
mod cv_bench_accuracy;
mod evaluation_point;
mod evaluator;
mod guided;
mod result;

pub use closed_answer::{BegunAnswer, meant_choice};
pub use confusion::{ClassAccuracy, ConfusionMatrix};
pub use cv_bench_accuracy::{CvBenchAccuracy, TaskAccuracy};
pub use evaluation_point::EvaluationPoint;
pub use evaluator::Evaluator;
pub use result::{Agreement, Answer, Evaluation};
