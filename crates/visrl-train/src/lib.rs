//! Learner, trainers, checkpoints, metrics and evaluation.
//!
//! The [`Learner`] turns a policy loss's coefficients into gradients. A [`TrainStep`] is a way of
//! training: a [`GrpoTrainer`] samples, scores and learns, an [`SftTrainer`] learns labels. The
//! [`TrainLoop`] runs either with evaluations, early stop and checkpoints in a [`CheckpointStore`];
//! an [`Evaluator`] measures a policy; a [`MetricSink`] records the run, an [`Observer`] is told what
//! happens in it, an [`Interrupt`] ends it early.
//!
//! The folders are the stages, and each imports only from those above it:
//!
//! | folder | from, to |
//! |---|---|
//! | `optimizer` | gradients to moved parameters: [`AdamW`], [`LearningRateSchedule`] |
//! | `learner` | groups with advantages to an updated policy: [`Learner`], [`LearnGroup`] |
//! | `evaluation` | examples to accuracies: [`Evaluator`], [`Evaluation`] |
//! | `log` | a step's numbers to files: [`StepMetrics`], [`MetricSink`], [`Warnings`] |
//! | `checkpoint` | a learner to a folder and back: [`CheckpointStore`], [`TrainState`] |
//! | `trainer` | examples to steps: [`GrpoTrainer`], [`SftTrainer`], [`TrainLoop`] |
#![forbid(unsafe_code)]

mod checkpoint;
mod error;
mod evaluation;
mod learner;
mod log;
mod optimizer;
mod trainer;

pub use checkpoint::{Checkpoint, CheckpointStore, LearnerState, TrainState};
pub use error::Error;
pub use evaluation::{
    Agreement, Answer, BegunAnswer, ClassAccuracy, ConfusionMatrix, CvBenchAccuracy, Evaluation,
    EvaluationPoint, Evaluator, TaskAccuracy, meant_choice,
};
pub use learner::{
    Drift, LearnGroup, LearnReport, LearnTimes, Learner, LearnerConfig, LogProbs, MemoryPlan,
    MemoryShape, ParameterSize, ReferencePolicy, TokenGroup, Workload, peak_memory,
    resident_memory,
};
pub use log::{
    JsonLines, LineFile, MetricSink, Progress, Scalar, Seconds, StepMetrics, TensorBoard, Warning,
    Warnings, Watch,
};
pub use optimizer::{
    AdamW, AdamWSettings, Decay, Gradients, LearningRateSchedule, NamePattern, ParameterGroup,
};
pub use trainer::{
    AsyncGrpoTrainer, GrpoConfig, GrpoTrainer, Interrupt, LoopConfig, NextExamples, Observer,
    ScoredGroup, SftTrainer, Start, StepContext, StopCause, StopCondition, Supervision, TrainLoop,
    TrainStep, Validation, conversation, supervised, supervised_conversation,
};
pub use visrl_data::{ExampleDealer, ExampleSource};
pub use visrl_grpo::SupervisedLoss;
