//! What the tests of visrl's crates share: the folder of the golden numbers and a harness for
//! damaged files, and what the libraries warn of.

pub mod fuzz;

mod fixtures;
mod warnings;

pub use fixtures::fixtures;
pub use warnings::warnings_of;
