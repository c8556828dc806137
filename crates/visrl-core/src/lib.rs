//! The vocabulary of visrl, without tensors.
//!
//! An [`Example`] (image, question, choices, label) becomes a [`Prompt`]; a policy answers it with
//! a [`Group`] of [`Completion`]s; every random draw on the way comes from a [`SeedStream`], a
//! counter-based generator, so that it depends on *where* it is made and never on what was drawn
//! before it. [`files`] reads and writes for all crates.
//!
//! ```
//! use std::sync::Arc;
//! use visrl_core::{Completion, Domain, Example, Group, ImageSource, Prompt, Row, SeedStream};
//! use visrl_core::StopReason;
//!
//! let example = Example {
//!     id: "train/7".into(),
//!     image: ImageSource::path("photo.png"),
//!     question: "What type of object is in the photo?".into(),
//!     choices: ["Bag", "Coat"].map(String::from).to_vec(),
//!     label: "Coat".into(),
//!     row: Row::default(),
//! };
//! let prompt = Prompt::user(&example.id, example.image.clone(), &example.question);
//! let group = Group {
//!     prompt: Arc::new(prompt),
//!     completions: vec![Completion {
//!         tokens: vec![17, 2],
//!         logprobs: vec![-0.1, -0.01],
//!         text: "Coat".into(),
//!         stop: StopReason::Eos,
//!     }],
//! };
//! assert_eq!(group.len(), 1);
//! let stream = SeedStream::new(100, Domain::Sampling);
//! assert_eq!(stream.uniform([0, 7, 0, 1]), stream.uniform([0, 7, 0, 1]));
//! ```
#![forbid(unsafe_code)]

mod example;
mod fifo_cache;
pub mod files;
mod group;
mod image_source;
mod prompt;
mod row;
mod seed;
mod token_rows;
mod warn_once;

pub use example::Example;
pub use fifo_cache::FifoCache;
pub use group::{Completion, Group, StopReason};
pub use image_source::ImageSource;
pub use prompt::{Content, Message, Prompt, Role};
pub use row::{Columns, Layout, Place, Row};
pub use seed::{Domain, SeedStream, ShuffleRng};
pub use token_rows::TokenRows;
pub use warn_once::warn_once;

/// The example of the README, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
