//! Work on several threads: on which one a step begins, and loops over rows.

#[cfg(feature = "flex")]
mod rows;
mod worker;

#[cfg(feature = "flex")]
pub(crate) use rows::{
    add_row, column_sums, copy, for_row_pairs_with, for_rows, for_rows_into, for_rows_with,
    for_triples_with, map,
};
pub use worker::{is_in_host_memory, on_rayon_worker};
