//! CV-Bench's score: the option that an answer names, and whether it is the right one.

mod answer_words;
mod cv_bench_option;
mod cv_bench_score;
mod latex;
mod numbers;
mod option_search;

pub use cv_bench_option::CvBenchOption;
pub use cv_bench_score::CvBenchScore;
