//! Every code that a program tells of has its line in the documentation.

use std::{collections::BTreeSet, fs, path::Path};

use integration_tests::binaries::project_root;

/// `CL` and four digits.
const CODE_CHARS: usize = 6;

#[test]
fn every_code_is_explained() {
    let mut told = BTreeSet::new();
    for directory in ["crates", "admin-api/src", "sidecar/src", "cli/src"] {
        codes_below(&project_root().join(directory), &mut told);
    }
    assert!(told.len() > 50, "{told:?}");
    let pages = ["docs/error-codes.md", "docs/operations.md"]
        .map(|page| fs::read_to_string(project_root().join(page)).unwrap());
    let explained: BTreeSet<String> = pages.iter().flat_map(|page| codes(page)).collect();
    let missing: Vec<&String> = told.difference(&explained).collect();
    assert!(missing.is_empty(), "not explained: {missing:?}");
    let gone: Vec<&String> = explained.difference(&told).collect();
    assert!(gone.is_empty(), "explained, and told by nobody: {gone:?}");
}

fn codes_below(directory: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes_below(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            into.extend(codes(&fs::read_to_string(path).unwrap()));
        }
    }
}

fn codes(text: &str) -> Vec<String> {
    let found = text.match_indices("CL0").filter_map(|(at, _)| {
        let code = text.get(at..at + CODE_CHARS)?;
        let digits = code[2..].bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| code.to_owned())
    });
    found.collect()
}

/// What findings of `cutline doctor` begin with.
const AREAS: [&str; 10] = [
    "checkpoints",
    "connection",
    "control",
    "kafka",
    "redis",
    "services",
    "sidecars",
    "store",
    "topics",
    "traffic",
];

#[test]
fn every_finding_of_the_doctor_is_explained() {
    let mut told = BTreeSet::new();
    for directory in ["admin-api/src/diagnosis", "cli/src/doctor"] {
        for entry in fs::read_dir(project_root().join(directory)).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            told.extend(findings(&text, '"'));
        }
    }
    assert!(told.len() > 30, "{told:?}");
    let page = fs::read_to_string(project_root().join("docs/cli.md")).unwrap();
    let explained: BTreeSet<String> = findings(&page, '`').into_iter().collect();
    assert_eq!(told, explained);
}

/// The ids that stand between two `quote`s.
fn findings(text: &str, quote: char) -> Vec<String> {
    let words = text.split(quote);
    let ids = words.filter(|word| {
        let plain = |name: &str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|char| char.is_ascii_lowercase() || char == '-')
        };
        let parts = word.split_once('.');
        parts.is_some_and(|(area, name)| AREAS.contains(&area) && plain(name))
    });
    ids.map(str::to_owned).collect()
}
