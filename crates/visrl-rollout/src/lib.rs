//! Sampling completions in groups.
//!
//! A [`GroupRequest`] asks for G completions of one prompt. A [`RolloutEngine`] answers with
//! [`Group`](visrl_core::Group)s, whose completions carry the log-probabilities that their tokens
//! were sampled with. [`NativeEngine`] runs the model in this process: it encodes image and prompt
//! once per group and lets the G samples share the prompt's keys and values. [`DeviceEngine`] keeps
//! all rows in one step and draws their tokens where the model is; [`LocalEngine`] is the one of the
//! two that suits the model's device.
//!
//! A draw depends on (stream, step, prompt, sample, position) and on nothing else, so that a group
//! is the same in any batch and in any order.
//!
//! # Who calls whom
//! ```text
//!  Vec<GroupRequest>  ->  RolloutEngine::generate  ->  Vec<Group>
//!
//!  NativeEngine: until all are finished
//!    1. schedule  Scheduler     waiting -> running      as long as there is room
//!                 prefill       prompt -> keys, values  PrefixCache, FeatureStore, the model
//!    2. decode    forward       last tokens -> logits   the model, all rows of all groups
//!                 Sampler       logits -> SampledToken  penalty, bans, temperature, top-k, top-p,
//!                                                       min-p, typical-p, draw
//!                 RunningGroup  takes the token         StopRules: end token, stop string, limit
//!    3. collect   Scheduler     running -> finished     what ended, failed or was cancelled
//! ```
//!
//! [`Scheduler`], [`RunningGroup`] and [`StopRules`] know neither the model nor its cache, so
//! another engine can use them with a cache and a decode step of its own. [`conformance`] checks
//! what every engine has to keep.
//!
//! # Where do I look for ...
//! | | |
//! |---|---|
//! | the loop of the engine | `native/engine.rs` |
//! | continuous batching, limits | `scheduler.rs` |
//! | a group that runs, its rows | `running_group.rs` |
//! | end tokens, stop strings | `stop.rs` |
//! | which tokens are text to rules and evaluations | `completion_text.rs` |
//! | one decode step | `native/decode.rs` |
//! | the engine for devices: all rows in one step, tokens drawn there | `device/` |
//! | encoding prompts, keeping them encoded | `native/prefill.rs`, `native/prefix_cache.rs` |
//! | temperature, top-k, top-p, min-p, ... | `sampler/filters/`, a file each |
//! | the random number of a token | `sampler/draw.rs` |
//! | answers from a closed list, their probabilities | `choices/` |
//! | sampling on another thread | `background_engine.rs` |
//! | rollouts on a vLLM server, with the feature `remote` | `remote/` |
#![forbid(unsafe_code)]

mod background_engine;
mod choices;
mod completion_text;
pub mod conformance;
mod damage;
mod device;
mod engine;
mod error;
mod local_engine;
mod native;
mod remote;
mod request;
mod running_group;
mod sampler;
mod scheduler;
mod scripted_engine;
mod stop;

pub use background_engine::{BackgroundEngine, SampledBatch};
pub use choices::{
    ChoiceScores, TokenChoices, fit_temperature, score_choices, score_choices_of_all,
};
pub use completion_text::CompletionText;
pub use device::{DeviceEngine, DeviceSampler, DrawInput, RowSettings};
pub use engine::{PolicySync, RolloutEngine};
pub use error::Error;
pub use local_engine::LocalEngine;
pub use native::{EngineConfig, EngineKind, NativeEngine};
pub use remote::RemoteConfig;
#[cfg(feature = "remote")]
pub use remote::{RemoteCounts, RemoteEngine};
pub use request::{Cancel, GroupRequest};
pub use running_group::RunningGroup;
pub use sampler::{
    Distribution, DrawCounter, SampledToken, Sampler, SamplingContext, SamplingParams,
};
pub use scheduler::{Admitted, Scheduler, SchedulerLimits};
pub use scripted_engine::ScriptedEngine;
pub use stop::StopRules;

/// The example of the README, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
