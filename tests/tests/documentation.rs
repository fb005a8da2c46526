//! What docs/SECURITY.md and docs/gate-http.md say about tests is true: each invariant has a section, every
//! test that they name exists, and every test of the gate over sockets is of a promise that they make.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust source of the workspace.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder)
        .expect("a folder of the repository")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(std::fs::read_to_string(&path).expect("a source file"));
        }
    }
}

/// The names of all tests that carry an invariant's number.
fn tests() -> BTreeSet<String> {
    let mut texts = Vec::new();
    for folder in ["crates", "tests", "fuzz"] {
        sources(&root().join(folder), &mut texts);
    }
    texts
        .iter()
        .flat_map(|text| text.split("fn invariant_").skip(1))
        .filter_map(|rest| {
            rest.split_once('(')
                .map(|(name, _)| format!("invariant_{name}"))
        })
        .collect()
}

#[test]
fn security_names_tests_that_exist() {
    let text = std::fs::read_to_string(root().join("docs/SECURITY.md")).expect("docs/SECURITY.md");
    let tests = tests();
    let named: BTreeSet<String> = text
        .split('`')
        .filter(|word| word.starts_with("invariant_"))
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = named.difference(&tests).collect();
    assert!(
        missing.is_empty(),
        "docs/SECURITY.md names tests that do not exist: {missing:?}"
    );
    assert!(!named.is_empty());

    for number in 1..=11 {
        let heading = format!("### {number}. ");
        assert!(
            text.contains(&heading),
            "docs/SECURITY.md has no section for invariant {number}"
        );
    }
}

#[test]
fn the_gates_page_names_its_tests_and_no_others() {
    let page =
        std::fs::read_to_string(root().join("docs/gate-http.md")).expect("docs/gate-http.md");
    let (_, table) = page
        .split_once("## What shows it")
        .expect("the table of promises");
    let named: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.rsplit_once(" | "))
        .flat_map(|(_, tests)| tests.split('`').skip(1).step_by(2))
        .collect();
    let mut all = Vec::new();
    for folder in ["crates/http", "crates/net", "tests/tests"] {
        sources(&root().join(folder), &mut all);
    }
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !all.iter().any(|text| text.contains(&format!("fn {name}("))))
        .collect();
    assert!(missing.is_empty(), "tests that do not exist: {missing:?}");

    let mut over_sockets = Vec::new();
    sources(&root().join("crates/http/tests"), &mut over_sockets);
    let unnamed: Vec<_> = over_sockets
        .iter()
        .flat_map(|text| text.split("#[tokio::test]\nasync fn ").skip(1))
        .filter_map(|rest| rest.split_once('('))
        .map(|(name, _)| name)
        .filter(|name| !named.contains(name))
        .collect();
    assert!(unnamed.is_empty(), "tests without a promise: {unnamed:?}");
    assert!(named.len() > 50, "the table was read");
}
