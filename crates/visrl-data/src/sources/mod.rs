//! Where data sets come from: a file or a folder per source, and what they share (the labels of
//! rows, questions, marks of images in them, the clean-up of class names).

mod coop;
mod cv_bench;
mod fashion_mnist;
mod idx;
mod image_folder;
mod image_markers;

pub(crate) mod labels;
mod name_cleanup;
mod parquet;
mod questions;
mod rows;
mod sat;
mod shared_pictures;

pub use self::parquet::{ParquetConfig, ParquetLimits};
pub use coop::{CoopConfig, CoopSet};
pub use cv_bench::{CvBench, CvBenchConfig, CvBenchFacts, CvBenchTask};
pub use fashion_mnist::{FASHION_CLASSES, FashionMnist, FashionSubset, fashion_subset};
pub use idx::{
    IdxConfig, IdxImages, IdxLimits, read_idx_images, read_idx_labels, write_idx_images,
    write_idx_labels,
};
pub use image_folder::ImageFolderConfig;
pub use image_markers::own_question;
pub use name_cleanup::NameCleanup;
pub use rows::{ColumnNames, RowsConfig, Tool};
pub use sat::{SatAnswers, SatConfig, SeveralImages};
