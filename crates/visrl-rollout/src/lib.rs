//! Sampling completions in groups.
//!
//! A [`GroupRequest`] asks for G completions of one prompt. A [`RolloutEngine`] answers with
//! [`Group`](visrl_core::Group)s. [`NativeEngine`] runs the model in this process: it encodes image
//! and prompt once per group and lets the G samples share the prompt's keys and values.
//!
//! A draw depends on (stream, step, prompt, sample, position) and on nothing else, so that a group
//! is the same in any batch and in any order.
#![forbid(unsafe_code)]

mod calibration;
mod choices;
pub mod conformance;
mod engine;
mod error;
mod native;
mod sampler;
mod score;
mod scripted;

pub use calibration::fit_temperature;
pub use choices::TokenChoices;
pub use engine::{Cancel, GroupRequest, PolicySync, RolloutEngine};
pub use error::Error;
pub use native::{EngineConfig, NativeEngine};
pub use sampler::{Context, Distribution, Sampled, Sampler, SamplingParams};
pub use score::{ChoiceScores, score_choices};
pub use scripted::ScriptedEngine;
