//! The README's library example is a program of the crate that stands outside of the workspace.

use std::path::Path;

#[test]
fn the_library_example_is_a_program_to_the_letter() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let readme = read("README.md");
    let (_, rest) = readme.split_once("```rust,no_run\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    assert_eq!(example, read("downstream/src/bin/readme.rs"));
}
