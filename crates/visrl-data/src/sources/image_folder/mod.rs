//! Folders of images: what lies in them, which of them are splits and which are classes, and what
//! is told of what is not read.

pub(crate) mod config;
pub(crate) mod endings;
mod layout;
pub(crate) mod left_out;
pub(crate) mod tree;

pub use config::ImageFolderConfig;
