//! What every number of a run may be: one table, and the walk that looks each number up in it.

mod bound;
mod check;
#[cfg(test)]
mod every_number;
#[cfg(test)]
mod every_table;
#[cfg(test)]
mod schema;
mod table;

pub(crate) use check::{check_file, check_numbers};
pub(crate) use table::{MOST_ROWS, MOST_STEPS};
