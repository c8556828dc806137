//! The allocator counts what a case holds.

use visrl_testing::fuzz::memory::{self, Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn an_allocation_is_counted() {
    memory::reset();
    drop(std::hint::black_box(vec![1u8; 5 << 20]));
    let peak = memory::peak();
    assert!((5 << 20..6 << 20).contains(&peak), "{peak}");
}
