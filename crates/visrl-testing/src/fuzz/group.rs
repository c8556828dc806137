//! Running the cases of a group.

// Tests tell how many cases gave results.
#![allow(clippy::print_stdout)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use super::memory;
use super::mutate::Rng;

/// Cases share one allocator, so only one group runs at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A mebibyte in bytes.
pub const MIB: usize = 1 << 20;

fn number(variable: &str, or: u64) -> u64 {
    std::env::var(variable).map_or(or, |text| text.parse().unwrap())
}

/// Runs a group's cases; `case` tells whether its input was accepted. No case may hold more than
/// `limit` bytes at once beyond what was there before it.
///
/// # Panics
/// When a case panics or holds more; the message has its number and seed.
pub fn group(name: &str, limit: usize, mut case: impl FnMut(&mut Rng) -> bool) {
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
///
/// # Panics
/// When there is no place for one.
pub fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.unwrap()
}
