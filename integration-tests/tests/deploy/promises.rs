//! docs/promises.md: every test it names is there. That they hold what stands beside them is for whoever reads both.

use std::{collections::BTreeSet, fs, path::Path};

use integration_tests::binaries::project_root;

/// Fewer than this, and the page is not read as it should be.
const NAMES_MIN: usize = 80;

/// The names of all functions in the Rust sources below `directory`.
fn functions(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            functions(&path, names);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            for rest in text.split("fn ").skip(1) {
                names.insert(rest.split('(').next().unwrap().to_owned());
            }
        }
    }
}

#[test]
fn every_test_that_a_promise_names_is_there() {
    let mut known = BTreeSet::new();
    functions(project_root(), &mut known);
    let page = fs::read_to_string(project_root().join("docs/promises.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let held = rows.filter_map(|row| row.split(" | ").nth(1));
    let named: Vec<&str> = held
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|name| !name.contains([' ', '/']))
        .collect();
    assert!(named.len() >= NAMES_MIN, "{}", named.len());
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| !known.contains(**name))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
