//! The built-in rules, and the enum that names them all.

mod accuracy;
mod custom_rule;
mod cv_bench;
mod format;
mod lenient_evaluation;
mod overlong_penalty;
mod repetition_penalty;
mod rule;
#[cfg(test)]
pub(crate) mod test_example;
mod think_answer_agreement;

pub use accuracy::{
    ExactCompletion, ReferenceTagAccuracy, SatAccuracy, StrictTagAccuracy, TrimmedCompletion,
};
pub use custom_rule::CustomRule;
pub use cv_bench::{CvBenchOption, CvBenchScore};
pub use format::{AdaptiveFormat, AnswerReasonFormat, TagUse, ThinkAnswerFormat};
pub use lenient_evaluation::LenientEvaluation;
pub use overlong_penalty::{LengthUnit, OverlongPenalty};
pub use repetition_penalty::RepetitionPenalty;
pub use rule::Rule;
pub use think_answer_agreement::ThinkAnswerAgreement;
