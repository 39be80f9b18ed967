//! The README's programs are those that run.

use std::fs;
use std::path::Path;

/// A file of the project.
fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).expect(path)
}

/// The blocks of Rust in a section of the README.
fn blocks<'a>(readme: &'a str, heading: &str) -> Vec<&'a str> {
    let (_, section) = readme.split_once(&format!("## {heading}\n")).expect(heading);
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    section.split("```rust\n").skip(1).map(|block| block.split_once("```\n").expect("its end").0).collect()
}

#[test]
fn the_program_of_the_readme_is_the_example_embed() {
    assert_eq!(blocks(&text("README.md"), "Embed it")[0], text("examples/embed/main.rs"));
}
