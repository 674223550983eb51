//! What the list of a program's parts says, against what cargo says of it.

use std::{collections::BTreeSet, process::Command};

use integration_tests::binaries::{project_root, python};
use serde_json::Value;

const PROGRAMS: [&str; 3] = ["cutline-sidecar", "cutline-admin", "cutline-cli"];

fn document(program: &str) -> Value {
    let script = project_root().join("scripts/sbom.py");
    let printed = Command::new(python()).arg(script).arg(program).output();
    let printed = printed.expect("python can be started");
    let said = String::from_utf8_lossy(&printed.stderr);
    assert!(printed.status.success(), "{program}: {said}");
    serde_json::from_slice(&printed.stdout).unwrap()
}

/// `name version` of all that cargo builds into a program.
fn built_in(program: &str) -> BTreeSet<String> {
    let printed = Command::new(env!("CARGO"))
        .current_dir(project_root())
        .args(["tree", "--locked", "--offline", "--package", program])
        .args(["--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .output()
        .expect("cargo can be started");
    let lines = String::from_utf8(printed.stdout).unwrap();
    let part = |line: &str| {
        let mut words = line.split_whitespace();
        Some(format!(
            "{} {}",
            words.next()?,
            words.next()?.strip_prefix('v')?
        ))
    };
    lines.lines().filter_map(part).collect()
}

#[test]
fn the_list_of_parts_names_all_that_is_built_into_each_program() {
    for program in PROGRAMS {
        let document = document(program);
        assert_eq!(document["spdxVersion"], "SPDX-2.3");
        let packages = document["packages"].as_array().unwrap();
        let text = |package: &Value, field: &str| package[field].as_str().unwrap().to_owned();
        let named: BTreeSet<String> = packages
            .iter()
            .map(|package| format!("{} {}", text(package, "name"), text(package, "versionInfo")))
            .collect();
        let missing: Vec<_> = built_in(program).difference(&named).cloned().collect();
        assert!(missing.is_empty(), "{program} also has {missing:?}");
        assert!(
            !named.iter().any(|part| part.starts_with("proptest ")),
            "tests are not in {program}"
        );
        let ids: BTreeSet<String> = packages
            .iter()
            .map(|package| text(package, "SPDXID"))
            .collect();
        assert_eq!(ids.len(), packages.len(), "{program}: an id is used twice");
        for relation in document["relationships"].as_array().unwrap() {
            let to = text(relation, "relatedSpdxElement");
            assert!(ids.contains(&to), "{program}: {to} is not listed");
        }
        for package in packages {
            let own = text(package, "name").starts_with("cutline-");
            assert_eq!(package["checksums"].is_array(), !own, "{package}");
        }
    }
}
