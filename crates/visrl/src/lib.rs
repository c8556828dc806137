//! Fine-tune vision-language models for visual classification by rule-based reinforcement learning
//! (GRPO), in Rust, on burn.
//!
//! This crate is the facade: [`parse_device`] makes a device of its name, a [`Recipe`] is one of
//! the ways of the paper "Think or Not Think" (arXiv 2503.16188), a [`Trainer`] runs it whole:
//! measure, train, measure again, save. The modules re-export the layers below, which are crates of
//! their own: take them to compose something else.
//!
//! ```no_run
//! use visrl::prelude::*;
//!
//! let base = Pretrained::<QwenVl>::load("assets/base", &parse_device("flex")?)?;
//! let data = FashionMnist::open("assets/fashion-mnist")?;
//! let train = few_shot(&data, 4, 100)?;
//! let trainer = Trainer::new(base, &Recipe::no_thinking_rl(), &train).test(&data);
//! let outcome = trainer.launch()?;
//! println!("{:.1} %", 100.0 * outcome.summary.after.greedy);
//! # Ok::<(), visrl::Error>(())
//! ```
//!
//! # Parts of one's own
//!
//! A reward is a [`RewardRule`](reward::RewardRule), a data set a [`Dataset`](data::Dataset), a
//! model a [`VisionLanguageModel`](vlm::VisionLanguageModel), a loss a
//! [`PolicyLoss`](grpo::PolicyLoss), a place for metrics a [`MetricSink`](train::MetricSink), and an
//! [`Observer`](train::Observer) is told what happens. All go into a [`Trainer`]; rules, data sets
//! and losses go into a run file by their names in a [`Registry`].
//!
//! # A run as a file
//!
//! A [`RunConfig`] holds all of a run: model, data, recipe and numbers. Every run writes its own as
//! `run.toml`, which repeats it. What a file leaves out takes the defaults; what it misspells is an
//! error that names the line and the field. A recipe is one of the paper's by its name, or a table:
//!
//! ```
//! use visrl::{FineTune, RunConfig};
//!
//! let text = r#"
//!     [model]
//!     path = "assets/base"
//!
//!     [data]
//!     shots = 4
//!     source = { kind = "drawn_shapes" }
//!
//!     [recipe]
//!     name = "brief_thoughts"
//!     answer_in_tags = true
//!
//!     [recipe.template]
//!     closed = """
//!     {question} One of: {choices}.
//!     Think briefly in <think> </think>, then answer in <answer> </answer>."""
//!     open = "{question} Think in <think> </think>, then answer in <answer> </answer>."
//!
//!     [[recipe.rewards]]
//!     rule = { type = "strict_tag_accuracy", matcher = { underscore = "ignore_case" } }
//!
//!     [[recipe.rewards]]
//!     weight = 0.5
//!     rule = { type = "think_answer_format", tags = "once" }
//!
//!     [fine_tune]
//!     seed = 7
//!     num_generations = 8
//!     choices = { kind = "all" }
//! "#;
//! let run = RunConfig::from_toml(text)?;
//!
//! assert_eq!(run.recipe.rewards.range(), (0.0, 1.5));
//! assert_eq!(run.recipe.rewards.names().last(), Some("think_answer_format"));
//! assert_eq!((run.fine_tune.seed, run.fine_tune.steps), (7, FineTune::default().steps));
//!
//! let misspelt = text.replace("num_generations", "num_generation");
//! let error = RunConfig::from_toml(&misspelt).unwrap_err().to_string();
//! assert!(error.contains("unknown field `num_generation`"));
//! # Ok::<(), visrl::Error>(())
//! ```
#![forbid(unsafe_code)]

mod asks;
mod before_after;
mod bounds;
pub mod classifier;
mod data_config;
mod data_errors;
mod data_kind;
mod device;
mod device_room;
mod drawn_shapes;
mod error;
mod evaluation_setting;
pub mod experiment;
mod file_version;
mod fine_tune;
mod fingerprint;
mod generation_config;
mod held_out;
mod idle_adapters;
mod idle_settings;
mod label_check;
mod load_check;
mod loss_setting;
mod model_card;
mod opened_thought;
mod over_default;
mod preflight;
pub mod prelude;
mod prepared;
mod question_check;
mod read_from;
mod recipe;
mod registry;
pub mod report;
mod resume;
mod run;
mod run_config;
mod run_engine;
mod run_files;
mod run_folder;
mod samples;
mod settings_check;
mod summary;
mod toml_place;
mod trainer;
mod unread_keys;
mod written_dataset;

pub use before_after::{Accuracy, Asked, BeforeAfter, Measured};
pub use data_config::{DataConfig, DataSource};
pub use data_kind::DataKind;
pub use device::{DeviceError, device_name, parse_device};
pub use drawn_shapes::DrawnShapes;
pub use error::Error;
pub use evaluation_setting::{EvaluatedRows, EvaluationPrompts, EvaluationSetting};
pub use fine_tune::FineTune;
pub use loss_setting::LossSetting;
pub use read_from::ReadFrom;
pub use recipe::{Objective, Recipe};
pub use registry::Registry;
pub use run_config::{ModelConfig, RunConfig};
pub use samples::Sample;
pub use summary::{DataNames, Memory, Summary};
pub use trainer::{Outcome, Trainer};
pub use written_dataset::{Vocabulary, WrittenDataset};

/// The README's example.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The example of this crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;

pub use burn;
pub use visrl_core as core;
pub use visrl_data as data;
pub use visrl_grpo as grpo;
pub use visrl_image as image;
pub use visrl_kernels as kernels;
pub use visrl_reward as reward;
pub use visrl_rollout as rollout;
pub use visrl_train as train;
pub use visrl_vlm as vlm;
