//! The rights that the documentation lists: read from its commands, so that what is documented is what is tested.

use std::fs;

use integration_tests::binaries::project_root;

use crate::cluster::Right;

/// Every right of `kafka-acls` in the page, one by one.
pub fn documented() -> Vec<Right> {
    let page = fs::read_to_string(project_root().join("docs/operations.md")).unwrap();
    let commands = page.lines().filter(|line| line.starts_with("kafka-acls "));
    let rights: Vec<Right> = commands.flat_map(of_command).collect();
    assert!(rights.len() > 20, "{rights:?}");
    rights
}

fn of_command(command: &str) -> Vec<Right> {
    let mut right = Right::new("", "", "", "");
    let mut operations = Vec::new();
    let mut words = command.split_whitespace().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap().trim_matches('\'').to_owned();
        match word {
            "--add" => {}
            "--allow-principal" => right.user = value().replace("User:", ""),
            "--operation" => operations.push(value()),
            "--resource-pattern-type" => right.prefixed = value() == "prefixed",
            "--cluster" => (right.kind, right.name) = ("cluster".into(), "kafka-cluster".into()),
            "--topic" | "--group" | "--transactional-id" => {
                right.kind = word.trim_start_matches('-').to_owned();
                right.name = value();
            }
            other => panic!("{other} in {command}"),
        }
    }
    let operations = operations.into_iter();
    operations
        .map(|operation| Right {
            operation,
            ..right.clone()
        })
        .collect()
}

/// What an error has to say when this right is missing.
pub fn named(right: &Right) -> String {
    let operation = match right.operation.as_str() {
        "DescribeConfigs" => "DESCRIBE_CONFIGS".to_owned(),
        other => other.to_uppercase(),
    };
    match (right.kind.as_str(), right.name.as_str()) {
        ("cluster", _) => format!("{operation} on the cluster"),
        (kind, "*") => format!("{operation} on {kind} "),
        (kind, name) => format!("{operation} on {} {name}", kind.replace('-', " ")),
    }
}
