//! What the tests of visrl's crates share: the folder of the golden numbers and a harness for
//! damaged files.

pub mod fuzz;

mod fixtures;

pub use fixtures::fixtures;
