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
