//! Damaged files of every kind a checkpoint or a data set has: each case gives a typed error or a
//! right result, without a panic and without more memory than its group may take.
//!
//! Cases are drawn from seeds, so that a failure names a case that can be run again.
//! `VISRL_FUZZ_CASES` sets the number of cases per group (10,000 unless said), `VISRL_FUZZ_SEED`
//! another seed.

// Tests tell how many cases gave results.
#![allow(clippy::print_stdout)]

mod configs;
mod images;
mod memory;
mod mutate;
mod templates;
mod tokenizers;
mod weights;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use mutate::Rng;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Cases share one allocator, so only one group runs at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const MIB: usize = 1 << 20;

fn number(variable: &str, or: u64) -> u64 {
    std::env::var(variable).map_or(or, |text| text.parse().unwrap())
}

/// Runs a group's cases; `case` tells whether its input was accepted. No case may hold more than
/// `limit` bytes at once beyond what was there before it.
fn group(name: &str, limit: usize, mut case: impl FnMut(&mut Rng) -> bool) {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (cases, seed) = (
        number("VISRL_FUZZ_CASES", 10_000),
        number("VISRL_FUZZ_SEED", 1),
    );
    let (mut accepted, mut most) = (0, 0);
    for n in 0..cases {
        let mut rng = Rng::new(seed, n);
        memory::reset();
        match catch_unwind(AssertUnwindSafe(|| case(&mut rng))) {
            Ok(true) => accepted += 1,
            Ok(false) => {}
            Err(_) => panic!("{name}: case {n} of seed {seed} panicked"),
        }
        let peak = memory::peak();
        assert!(
            peak <= limit,
            "{name}: case {n} of seed {seed} took {peak} bytes"
        );
        most = most.max(peak);
    }
    println!(
        "{name}: {accepted} of {cases} accepted, at most {} KiB",
        most >> 10
    );
}

/// A folder for a group's files; in memory where the system has such a place, for it is written
/// thousands of times.
fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.unwrap()
}
