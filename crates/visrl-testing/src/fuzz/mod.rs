//! Damaged files by the thousand: each case gives a typed error or a right result, without a panic
//! and without more memory than its group may take.
//!
//! Cases are drawn from seeds, so that a failure names a case that can be run again.
//! `VISRL_FUZZ_CASES` sets the number of cases per group (10,000 unless said), `VISRL_FUZZ_SEED`
//! another seed. A test binary that uses this must count its memory:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: visrl_testing::fuzz::memory::Counting = visrl_testing::fuzz::memory::Counting;
//! ```

pub mod memory;
pub mod mutate;

mod group;

pub use group::{MIB, folder, group};
