//! Learner, trainers, checkpoints, metrics and evaluation.
//!
//! The [`Learner`] turns a policy loss's coefficients into gradients. A [`TrainStep`] is a way of
//! training: a [`GrpoTrainer`] samples, scores and learns, an [`SftTrainer`] learns labels. The
//! [`TrainLoop`] runs either with evaluations, early stop and checkpoints in a [`CheckpointStore`];
//! an [`Evaluator`] measures a policy; a [`MetricSink`] records the run.
#![forbid(unsafe_code)]

mod checkpoint;
mod config;
mod draw;
mod error;
mod evaluation;
mod gradients;
mod head;
mod learner;
mod learner_state;
mod line_file;
mod memory;
mod metrics;
mod optimizer;
mod optimizer_state;
mod padded;
mod parameter_group;
mod progress;
mod recompute;
mod records;
mod reference;
mod report;
mod rows;
mod schedule;
mod sft_trainer;
mod tensor_board;
mod train_loop;
mod trainer;

pub use checkpoint::{Checkpoint, CheckpointStore, EvaluationPoint, TrainState};
pub use config::LearnerConfig;
pub use draw::{Deal, ExampleDealer};
pub use error::Error;
pub use evaluation::{
    Agreement, Answer, BaseNew, ClassAccuracy, ConfusionMatrix, CrossMatrix, CvBenchAccuracy,
    Evaluation, Evaluator, Spread, TaskAccuracy, harmonic_mean,
};
pub use gradients::Gradients;
pub use learner::Learner;
pub use learner_state::LearnerState;
pub use line_file::LineFile;
pub use memory::{MemoryPlan, Workload, peak_memory, resident_memory};
pub use metrics::{JsonLines, MetricSink, Seconds, StepMetrics};
pub use optimizer::{AdamW, AdamWSettings};
pub use parameter_group::{NamePattern, ParameterGroup};
pub use progress::Progress;
pub use reference::ReferencePolicy;
pub use report::{LearnReport, LearnTimes, Scores};
pub use rows::{LearnGroup, TokenGroup};
pub use schedule::{Decay, Schedule};
pub use sft_trainer::{SftTrainer, supervised};
pub use tensor_board::{Scalar, TensorBoard};
pub use train_loop::{Ended, LoopConfig, NextExamples, Observer, Start, TrainLoop, TrainStep};
pub use trainer::{GrpoConfig, GrpoTrainer};
pub use visrl_grpo::SupervisedLoss;
