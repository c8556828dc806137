//! Expressions of Python's `re`, as PEFT's files hold them: read by Python's own rules (those of
//! 3.11 and later), and written in the syntax of the `fancy-regex` crate, which matches them.

mod class;
mod expression;
mod flags;
mod parser;
mod tree;
mod write;

pub(super) use expression::PythonRegex;
