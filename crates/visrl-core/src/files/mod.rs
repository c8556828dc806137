//! Files: read with the path named, written whole or not at all.
//!
//! Every crate of visrl reads and writes through this module, so that an error always names the
//! file, and a process that is killed never leaves half of one:
//!
//! * [`read`], [`read_json`], [`read_value`] and [`for_each_line`] read, within limits, and
//!   [`Fields`] looks into an object of a file and tells what in it is not known;
//! * [`from_json`], [`from_value`] and [`listed_table`] refuse a list where an object is read;
//! * [`write_file`], [`write_file_with`] and [`write_dir`] write atomically;
//! * [`check_replaceable`] and [`check_replaceable_json`] keep what is somebody else's;
//! * [`seal`] and [`verify`] keep a folder's checksums.
//!
//! What goes wrong is a [`FileError`], which each crate's own error takes in by `From`.

mod atomic;
mod error;
mod fields;
mod json_text;
mod lines;
mod listed;
mod manifest;
mod own;
mod read;
mod tables;

pub use atomic::{make_readable, write_dir, write_file, write_file_with};
pub use error::FileError;
pub use fields::{Fields, is_set, same, shown};
pub use lines::{fault_in_line, for_each_line};
pub use listed::listed_table;
pub use manifest::{SEAL, seal, verify};
pub use own::{check_replaceable, check_replaceable_json};
pub use read::{parse_json, parse_value, read, read_json, read_text, read_value};
pub use tables::{from_json, from_value};
