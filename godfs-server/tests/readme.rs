//! The README's program is one that runs.

use std::fs;
use std::path::Path;

#[test]
fn the_program_of_the_readme_is_the_example_embed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = fs::read_to_string(root.join("README.md")).expect("README.md");
    let example = fs::read_to_string(root.join("examples/embed/main.rs")).expect("examples/embed/main.rs");
    let (_, section) = readme.split_once("## Embed it\n").expect("a section `Embed it`");
    let (_, block) = section.split_once("```rust\n").expect("a block of Rust");
    let (block, _) = block.split_once("```\n").expect("the end of the block");
    assert_eq!(block, example, "README.md and examples/embed/main.rs differ");
}
