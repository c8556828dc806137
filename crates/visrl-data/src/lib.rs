//! Where examples come from.
//!
//! A [`Dataset`] holds labelled images in splits, the names of their classes and one question. A
//! [`FewShot`] draw takes a few images of each class, [`base_new`] half of the classes; a
//! [`ChoiceList`] draws the names that an example shows, and a [`PromptTemplate`] turns the example
//! into the [`Prompt`](visrl_core::Prompt) that a model is asked. There are no tensors here, and no
//! image is opened: pixels are decoded late, by the processor of the model.
//!
//! One's own data set is four methods, or a [`MemoryDataset`] filled with records:
//!
//! ```
//! use visrl_core::ImageSource;
//! use visrl_data::{
//!     ChoiceList, ChoiceRule, Dataset, Error, MemoryDataset, Method, PromptTemplate, Record, Split,
//!     Wording,
//! };
//!
//! let shots = [("apples/1.png", 0), ("pears/7.png", 1)]
//!     .map(|(path, label)| Record::new(path, ImageSource::path(path), label));
//! let fruit = MemoryDataset::new("fruit", ["apple", "pear"], "Which fruit is in the photo?")
//!     .with_split(Split::Train, shots.to_vec())?;
//!
//! let choices = ChoiceList::new(ChoiceRule::few_shot(), 100);
//! let template = PromptTemplate::paper(Method::NoThinking, Wording::Train);
//! let epoch = 0;
//! for example in fruit.examples(Split::Train, &choices, epoch)? {
//!     let prompt = template.render(&example);
//!     assert_eq!(prompt.id, example.id);
//!     assert!(template.text(&example).ends_with("\n Please directly output the answer."));
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! A list of choices depends on the seed, the epoch and the place of the example alone, so a run
//! that is resumed asks what it would have asked.
//!
//! # Sources
//!
//! | from | by |
//! |---|---|
//! | CoOp's eleven sets with their published splits | [`CoopSet`], [`CoopConfig`], [`read_split_file`] |
//! | folders of images | [`ImageFolderConfig`] |
//! | JSON lines | [`JsonLinesConfig`] |
//! | IDX files (MNIST and its relatives) | [`IdxConfig`], [`FashionMnist`] |
//! | anything else | [`MemoryDataset`], or an implementation of [`Dataset`] |
//!
//! Parquet is not read: neither the paper's own 4-shot files nor CV-Bench open directly; convert
//! them to JSON lines and image files first.
//!
//! # What is reproduced exactly
//!
//! CoOp's few-shot draws, image by image and in order, because [`PythonRandom`] is CPython's
//! generator; its base and new halves; the prompts of the paper. The paper's own 4-shot files were
//! drawn without a seed, so no code can draw them again: CoOp's seeded draw is the repeatable
//! alternative. CoOp's draw on ImageNet followed an unsorted directory listing; here the listing is
//! sorted, so that draw differs from CoOp's.
//!
//! Nothing in a file can cause a panic, and no path in a list can leave the data set's folder: each
//! fault is an [`Error`] that names the file, the row and the field.
#![forbid(unsafe_code)]

mod aircraft;
mod atomic;
mod base_new;
mod choices;
mod coop;
mod cv_bench;
mod cv_bench_row;
mod dataset;
mod error;
mod fashion;
mod few_shot;
mod idx;
mod idx_dataset;
mod idx_write;
mod image_folder;
mod imagenet;
mod json_lines;
mod labels;
mod letters;
mod lines;
mod loader;
mod memory;
mod method;
mod names;
mod parquet_dataset;
mod parquet_labels;
mod parquet_page;
mod parquet_table;
mod parquet_thrift;
mod paths;
mod python_random;
mod sat;
mod split_file;
mod template;

pub use base_new::{Classes, base_new};
pub use choices::{ChoiceList, ChoiceRule};
pub use coop::{CoopConfig, CoopSet};
pub use cv_bench::{CvBench, CvBenchConfig, CvBenchFacts, CvBenchTask};
pub use dataset::{Dataset, Record, Split, check_image_files};
pub use error::Error;
pub use fashion::{FASHION_CLASSES, FashionMnist, FashionSubset, fashion_subset};
pub use few_shot::{FewShot, MAX_VAL_SHOTS, few_shot};
pub use idx::{IdxImages, IdxLimits, read_idx_images, read_idx_labels};
pub use idx_dataset::IdxConfig;
pub use idx_write::{write_idx_images, write_idx_labels};
pub use image_folder::ImageFolderConfig;
pub use json_lines::JsonLinesConfig;
pub use loader::{Loaded, Loader, LoaderConfig, OnBroken};
pub use memory::MemoryDataset;
pub use method::{Method, Wording};
pub use names::NameCleanup;
pub use parquet_dataset::ParquetConfig;
pub use parquet_table::ParquetLimits;
pub use python_random::PythonRandom;
pub use sat::{SatAnswers, SatConfig, SeveralImages};
pub use split_file::read_split_file;
pub use template::PromptTemplate;
