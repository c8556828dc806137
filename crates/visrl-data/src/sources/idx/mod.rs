//! IDX files, the format of MNIST and its relatives: a big-endian header (magic number, then one
//! size per dimension) and raw bytes, plain or compressed by gzip.

pub(crate) mod dataset;
pub(crate) mod format;
pub(crate) mod images;
mod read;
pub(crate) mod write;

pub use dataset::IdxConfig;
pub use images::{IdxImages, IdxLimits};
pub use read::{read_idx_images, read_idx_labels};
pub use write::{write_idx_images, write_idx_labels};
