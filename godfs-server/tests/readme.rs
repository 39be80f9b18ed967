//! The programs of the README are those that run.

use std::fs;
use std::path::Path;

/// In the order in which the README shows them.
const SHOWN: [&str; 4] = [
    "examples/embed/main.rs",
    "examples/analytics/src/query.rs",
    "examples/analytics/src/delta.rs",
    "examples/analytics/src/columns.rs",
];

#[test]
fn what_the_readme_shows_are_the_examples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = fs::read_to_string(root.join("README.md")).expect("README.md");
    let blocks: Vec<_> = readme.split("```rust\n").skip(1).map(|block| block.split("```").next()).collect();
    assert_eq!(blocks.len(), SHOWN.len(), "blocks of Rust in README.md");
    for (block, file) in blocks.into_iter().zip(SHOWN) {
        let example = fs::read_to_string(root.join(file)).expect(file);
        assert_eq!(block, Some(example.as_str()), "README.md and {file} differ");
    }
}
