//! Where examples come from.
//!
//! A [`Dataset`] holds labelled images in splits, the names of their classes and one question. A
//! [`FewShot`] draw takes a few images of each class, [`base_new`] half of the classes; a
//! [`ChoiceList`] draws the names that an example shows, and a [`PromptTemplate`] turns the example
//! into the [`Prompt`](visrl_core::Prompt) that a model is asked. There are no tensors here, and no
//! image is decoded: that is done late, by the processor of the model.
//!
//! One's own data set is four methods, or a [`MemoryDataset`] filled with records:
//!
//! ```
//! use visrl_core::ImageSource;
//! use visrl_data::{ChoiceList, ChoiceRule, Dataset, Error, Record, Split};
//! # use visrl_data::{Method, PromptTemplate, Wording};
//!
//! struct Fruit {
//!     classes: Vec<String>,
//!     photos: Vec<Record>,
//! }
//!
//! impl Dataset for Fruit {
//!     fn name(&self) -> &str { "fruit" }
//!     fn classes(&self) -> &[String] { &self.classes }
//!     fn question(&self) -> &str { "Which fruit is in the photo?" }
//!     fn records(&self, split: Split) -> Result<&[Record], Error> {
//!         match split {
//!             Split::Train => Ok(&self.photos),
//!             _ => Err(Error::NoSplit { dataset: "fruit".into(), split }),
//!         }
//!     }
//! }
//!
//! let photo = |path: &str, label| Record::new(path, ImageSource::path(path), label);
//! let fruit = Fruit {
//!     classes: ["apple", "pear"].map(String::from).to_vec(),
//!     photos: vec![photo("apples/1.png", 0), photo("pears/7.png", 1)],
//! };
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
//! that is resumed asks what it would have asked. A record may have a question and choices of its
//! own instead.
//!
//! # Where things are
//!
//! | room | what is there |
//! |---|---|
//! | the crate's root | [`Dataset`], its [`Record`]s in a [`Split`], [`MemoryDataset`], [`plain_label`], the [`ExampleDealer`] of a training run, [`Error`] |
//! | `sources` | a file or a folder for each kind of data set, listed below |
//! | `splits` | [`FewShot`], [`base_new`], [`hold_out`], [`read_split_file`], [`PythonRandom`] |
//! | `prompt` | [`ChoiceList`] and [`ChoiceRule`], [`ListSchedule`], [`Method`] and [`Wording`], [`PromptTemplate`] |
//! | `files` | lines, lengths and paths of lists that come from elsewhere, and what is told of them |
//!
//! | from | by |
//! |---|---|
//! | CoOp's eleven sets with their published splits | [`CoopSet`], [`CoopConfig`], [`read_split_file`] |
//! | folders of images | [`ImageFolderConfig`] |
//! | JSON lines, JSON and parquet of training tools | [`RowsConfig`] |
//! | parquet files as the Hugging Face hub has them, the paper's own 4-shot sets among them | [`ParquetConfig`] |
//! | IDX files (MNIST and its relatives) | [`IdxConfig`], [`FashionMnist`] |
//! | CV-Bench, by task | [`CvBenchConfig`] |
//! | SAT in the JSON that the paper trains on | [`SatConfig`] |
//! | anything else | [`MemoryDataset`], or an implementation of [`Dataset`] |
//!
//! Parquet files (those of CV-Bench, too) are read with the feature `parquet`, which is off by
//! default; without it they give [`Error::Feature`].
//!
//! A million rows of JSON lines open in three seconds and 300 MB (the example `json_lines_scale`
//! measures it).
//!
//! # What is reproduced exactly
//!
//! CoOp's few-shot draws, image by image and in order, because [`PythonRandom`] is CPython's
//! generator; its base and new halves; the prompts of the paper. The paper's own 4-shot files were
//! drawn without a seed, so no code can draw them again: CoOp's seeded draw is the repeatable
//! alternative. CoOp's draw on ImageNet followed an unsorted directory listing; here the listing is
//! sorted, so that draw differs from CoOp's.
//!
//! Nothing in a file can cause a panic or fill the memory, and no path in a list can leave the data
//! set's folder: each fault is an [`Error`] that names the file, the row and the field, and says
//! what to do. Some 40 000 damaged and arbitrary files are tried in the tests.
#![forbid(unsafe_code)]

mod dataset;
mod error;
mod example_dealer;
mod files;
mod image_files;
mod memory;
mod plain_label;
mod prompt;
mod record;
mod sources;
mod split;
mod splits;

pub use dataset::Dataset;
pub use error::Error;
pub use example_dealer::{ExampleDealer, ExampleSource};
pub use image_files::check_image_files;
pub use memory::MemoryDataset;
pub use plain_label::{LabelFault, holds_more, plain_label};
pub use prompt::{ChoiceList, ChoiceRule, ListSchedule, Method, PromptTemplate, Wording};
pub use record::Record;
pub use sources::{
    ColumnNames, CoopConfig, CoopSet, CvBench, CvBenchConfig, CvBenchFacts, CvBenchTask,
    FASHION_CLASSES, FashionMnist, FashionSubset, IdxConfig, IdxImages, IdxLimits,
    ImageFolderConfig, NameCleanup, ParquetConfig, ParquetLimits, RowsConfig, SatAnswers,
    SatConfig, SeveralImages, Tool, fashion_subset, own_question, read_idx_images, read_idx_labels,
    write_idx_images, write_idx_labels,
};
pub use split::Split;
pub use splits::{
    Classes, FewShot, MAX_VAL_SHOTS, PythonRandom, base_new, few_shot, hold_out, read_split_file,
};
