//! What is built in: licences and origins that `deny.toml` allows, no `unsafe` of our own, and the same for programs as for tests.
//!
//! `cargo deny check` looks at more (advisories among it), but takes longer to build than all this to test, and needs a
//! database that is fetched; people run it, this runs always. Both read the one list.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use integration_tests::binaries::project_root;
use serde_json::Value;
use spdx::{Expression, ParseMode};

/// Machines that images are made for, as `deny.toml` has them.
const PLATFORMS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let policy = fs::read_to_string(project_root().join("deny.toml")).unwrap();
    let allowed = listed(&policy, "allow = [");
    assert!(allowed.len() > 5, "{allowed:?}");
    let mut used = Vec::new();
    for (package, fields) in packages() {
        let licence = fields["license"].as_str();
        let licence = licence.unwrap_or_else(|| panic!("{package} names no licence"));
        let expression = Expression::parse_mode(licence, ParseMode::LAX);
        let expression = expression.unwrap_or_else(|error| panic!("{package}: {error}"));
        let fits = expression.evaluate(|asked| {
            let found = allowed
                .iter()
                .find(|allowed| **allowed == asked.to_string());
            used.extend(found.cloned());
            found.is_some()
        });
        assert!(
            fits,
            "{package} is licensed as {licence}, which deny.toml does not allow"
        );
    }
    for licence in &allowed {
        assert!(
            used.contains(licence),
            "{licence} is allowed, and nobody needs it"
        );
    }
}

#[test]
fn every_dependency_comes_from_the_registry() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (package, fields) in packages() {
        let ours = fields["source"].is_null();
        assert!(
            ours || fields["source"] == REGISTRY,
            "{package} is from {}",
            fields["source"]
        );
        let (name, version) = package.split_once(' ').unwrap();
        versions
            .entry(name.to_owned())
            .or_default()
            .push(version.to_owned());
    }
    // As in deny.toml this is told, not refused: others decide what they depend on.
    versions.retain(|_, versions| versions.len() > 1);
    println!("in more than one version: {versions:?}");
}

#[test]
fn no_code_of_ours_is_unsafe() {
    // Spelled so that this file has none of it either.
    let word = ["un", "safe"].concat();
    let manifest = fs::read_to_string(project_root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("{word}_code = \"forbid\"")));
    let metadata = metadata(PLATFORMS[0]);
    let mut looked_at = 0;
    for package in metadata["packages"].as_array().unwrap() {
        if !package["source"].is_null() {
            continue;
        }
        let path = Path::new(package["manifest_path"].as_str().unwrap());
        let text = fs::read_to_string(path).unwrap();
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{} does not take the workspace's lints",
            path.display()
        );
        looked_at += look(path.parent().unwrap(), &word);
    }
    assert!(looked_at > 300, "{looked_at} files");
}

/// Where only tests ask for a feature, cargo builds that package and all that stands on it twice: for programs and for tests.
#[test]
fn programs_and_tests_are_built_from_the_same_pieces() {
    let tests = features("normal,build,dev");
    for (package, programs) in features("normal,build") {
        assert_eq!(
            programs, tests[&package],
            "{package} has one set of features in `cargo build --workspace --bins` and another in `cargo test`: \
             depend on what asks for more without `dev-` somewhere"
        );
    }
}

/// Every package by name and version, with the features that are on over edges of these `kinds`: once for programs, once for
/// what runs while they are built, where the two differ.
fn features(kinds: &str) -> BTreeMap<String, BTreeSet<String>> {
    let tree = ["tree", "--workspace", "--locked", "--edges", kinds];
    let form = [
        "--target",
        PLATFORMS[0],
        "--prefix",
        "none",
        "--format",
        "{p}\t{f}",
    ];
    let text = String::from_utf8(cargo(&[&tree[..], &form[..]].concat())).unwrap();
    let mut all = BTreeMap::<String, BTreeSet<String>>::new();
    // An empty line stands between the trees of two members.
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (package, features) = line.trim_end_matches(" (*)").split_once('\t').unwrap();
        all.entry(package.to_owned())
            .or_default()
            .insert(features.to_owned());
    }
    assert!(all.len() > 200, "{} packages", all.len());
    all
}

/// Files of Rust below `directory`, each without the word as one of the language.
fn look(directory: &Path, word: &str) -> usize {
    let mut looked_at = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            looked_at += look(&path, word);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let found = code.clone().find(|line| {
                [" {", " fn", " impl", "_code"]
                    .iter()
                    .any(|after| line.contains(&format!("{word}{after}")))
            });
            assert_eq!(found, None, "{}", path.display());
            looked_at += 1;
        }
    }
    looked_at
}

/// Every package of any platform by name and version, once.
fn packages() -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for platform in PLATFORMS {
        let mut metadata = metadata(platform);
        for package in metadata["packages"].as_array_mut().unwrap() {
            let text = |field: &str| package[field].as_str().unwrap().to_owned();
            let name = format!("{} {}", text("name"), text("version"));
            all.insert(name, package.take());
        }
    }
    assert!(all.len() > 200, "{} packages", all.len());
    all
}

fn metadata(platform: &str) -> Value {
    let asked = ["metadata", "--locked", "--format-version", "1"];
    let told = cargo(&[&asked[..], &["--filter-platform", platform]].concat());
    serde_json::from_slice(&told).unwrap()
}

/// What cargo tells of this project.
fn cargo(arguments: &[&str]) -> Vec<u8> {
    let told = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(project_root())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{arguments:?}: {error}");
    told.stdout
}

/// The strings of a list in a file of settings.
fn listed(text: &str, start: &str) -> Vec<String> {
    let (_, after) = text.split_once(start).unwrap();
    let (list, _) = after.split_once(']').unwrap();
    let quoted = list.split('"').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}
