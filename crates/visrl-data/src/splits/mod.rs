//! Parts of a data set: few-shot draws, base and new classes, published split files.

mod base_new;
mod few_shot;
mod hold_out;
mod python_random;
pub(crate) mod split_file;

pub use base_new::{Classes, base_new};
pub use few_shot::{FewShot, MAX_VAL_SHOTS, few_shot};
pub use hold_out::hold_out;
pub use python_random::PythonRandom;
pub use split_file::read_split_file;
