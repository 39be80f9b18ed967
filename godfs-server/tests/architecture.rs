//! The tests that ARCHITECTURE.md names for the mistakes of others are there, where it says.

use std::fs;
use std::path::{Path, PathBuf};

const MISTAKES: usize = 18;

/// All Rust files of the project's own crates.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `a/b::{c, d}` as the place `a/b` and the names of tests.
fn reference(text: &str) -> Option<(&str, Vec<&str>)> {
    let (place, names) = text.rsplit_once("::{").or_else(|| text.rsplit_once("::"))?;
    Some((place, names.trim_end_matches('}').split(',').map(str::trim).collect()))
}

/// Whether `place` is where a file is: its names are the last ones of the file's way, but for folders between.
fn lies_in(path: &Path, place: &str) -> bool {
    let way = path.with_extension("");
    let mut way = way.components().rev().filter_map(|part| part.as_os_str().to_str()).filter(|part| *part != "mod");
    place.rsplit('/').all(|name| way.any(|part| part == name))
}

/// Whether a test, or a case of a conformance suite, has that name in a file.
fn has(text: &str, name: &str) -> bool {
    text.match_indices(&format!("fn {name}(")).any(|(at, _)| {
        let before = &text[..at];
        let case = before.ends_with("pub async ") || before.ends_with("pub(super) async ");
        case || before.lines().rev().take(6).any(|line| line.trim_start().starts_with("#[") && line.contains("test"))
            || text[..at].rfind("proptest! {").is_some_and(|begin| !before[begin..].contains("\n}"))
    })
}

#[test]
fn each_mistake_names_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for crate_folder in ["godfs-core", "godfs-client", "godfs-server"] {
        for below in ["src", "tests"] {
            let folder = root.join(crate_folder).join(below);
            if folder.is_dir() {
                sources(&folder, &mut files);
            }
        }
    }
    let files: Vec<_> = files.into_iter().map(|path| (fs::read_to_string(&path).expect("a file"), path)).collect();
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let (_, section) = text.split_once("## What clones of HDFS get wrong\n").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("another section");
    let (mut rows, mut missing) = (0, Vec::new());
    for row in section.lines().filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit()) {
        rows += 1;
        let number = row.split('|').nth(1).expect("a number").trim();
        assert_eq!(number, rows.to_string(), "one after another");
        let mut shown = 0;
        for quoted in row.split('`').skip(1).step_by(2) {
            let Some((place, names)) = reference(quoted) else { continue };
            for name in names {
                shown += 1;
                if !files.iter().any(|(text, path)| lies_in(path, place) && has(text, name)) {
                    missing.push(format!("{number}: {place}::{name}"));
                }
            }
        }
        assert!(shown > 0, "{number} names no test");
    }
    assert_eq!(rows, MISTAKES);
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

/// Two of them were missing from the list for long.
#[test]
fn each_invariant_of_the_rows_is_named() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md")).expect("the map");
    let names: Vec<_> = godfs_core::namespace::Namespace::invariants().collect();
    let (_, list) = text.split_once("The row invariants by subject.").expect("the list");
    let (list, _) = list.split_once("\n\n").expect("its end");
    let listed: Vec<_> = list.split('`').skip(1).step_by(2).collect();
    let missing: Vec<_> = names.iter().filter(|name| !listed.contains(name)).collect();
    assert!(
        missing.is_empty() && listed.len() == names.len(),
        "{missing:?} of {}, listed {}",
        names.len(),
        listed.len()
    );
    assert!(text.contains(&format!("between rows: {} named functions", names.len())));
}
