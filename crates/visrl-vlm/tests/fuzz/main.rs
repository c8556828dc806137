//! Damaged files of every kind that a checkpoint has: each case gives a typed error or a right
//! result, without a panic and without more memory than its group may take; see
//! [`visrl_testing::fuzz`].

mod adapters;
mod configs;
mod templates;
mod tokenizers;
mod weights;

use visrl_testing::fuzz::{MIB, folder, group, memory, mutate};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;
