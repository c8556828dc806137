//! Fine-tune vision-language models for visual classification by rule-based reinforcement learning
//! (GRPO), in Rust, on burn.
//!
//! This crate is the facade: [`parse_device`] makes a device of its name, a [`Recipe`] is one of
//! the ways of the paper "Think or Not Think" (arXiv 2503.16188), [`FineTune`] runs it whole:
//! measure, train, measure again, save. The modules re-export the layers below, which are crates of
//! their own: take them to compose something else.
//!
//! ```no_run
//! use visrl::data::{FashionMnist, few_shot};
//! use visrl::vlm::{Pretrained, QwenVl};
//! use visrl::{FineTune, Recipe, parse_device};
//!
//! let base = Pretrained::<QwenVl>::load("assets/base", &parse_device("flex")?)?;
//! let data = FashionMnist::open("assets/fashion-mnist")?;
//! let train = few_shot(&data, 4, 100)?;
//! let recipe = Recipe::no_thinking_rl();
//! let summary = FineTune::default().reinforce(base, &recipe, &train, &data)?;
//! println!("{:.1} %", 100.0 * summary.after.greedy);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod device;
pub mod fine_tune;
mod recipe;
mod summary;

pub use device::{DeviceError, parse_device};
pub use fine_tune::FineTune;
pub use recipe::Recipe;
pub use summary::{Accuracy, Summary};

/// The README's example.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

pub use visrl_core as core;
pub use visrl_data as data;
pub use visrl_grpo as grpo;
pub use visrl_reward as reward;
pub use visrl_rollout as rollout;
pub use visrl_train as train;
pub use visrl_vlm as vlm;
