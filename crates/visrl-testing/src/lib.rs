//! What the tests of visrl's crates share: the folder of the golden numbers and their reader, a
//! harness for damaged files, and what the libraries warn of.

pub mod fuzz;

mod fixtures;
mod numbers;
mod warnings;

pub use fixtures::{fixtures, part};
pub use numbers::{numbers, rows};
pub use warnings::warnings_of;
