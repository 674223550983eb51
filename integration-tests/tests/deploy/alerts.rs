//! Alerts are on metrics that exist, and each has its page for three in the morning.

use std::{collections::BTreeSet, fs};

use integration_tests::{binaries::project_root, prometheus::promtool};

use crate::render::{of_kind, render};

/// Where metrics are registered, and what stands before each name there.
const SOURCES: [(&str, &str); 2] = [
    ("admin-api/src/metrics/names.rs", "cutline_"),
    ("sidecar/src/proxy/metrics.rs", ""),
];

/// The names metrics are registered by, without unit and `_total`.
fn registered() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (path, before) in SOURCES {
        let source = fs::read_to_string(project_root().join(path)).unwrap();
        let calls = source.split(".register").skip(1);
        for call in calls {
            // register("name", …) and register_with_unit("name", …); definitions have no text there.
            let name = call.split(['"', ')']).nth(1).unwrap_or_default();
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            if !name.is_empty() && name.bytes().all(is_name) {
                names.insert(format!("{before}{name}"));
            }
        }
    }
    names
}

fn metrics_in(expression: &str) -> Vec<&str> {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("cutline_"))
        .collect()
}

/// A series' name as its metric is registered.
fn metric_of(series: &str) -> &str {
    let ends = ["_bucket", "_sum", "_count", "_total"];
    let bare = ends.iter().find_map(|end| series.strip_suffix(end));
    let bare = bare.unwrap_or(series);
    let units = ["_seconds", "_bytes"];
    units
        .iter()
        .find_map(|unit| bare.strip_suffix(unit))
        .unwrap_or(bare)
}

#[test]
fn alerts_are_on_metrics_that_exist() {
    let known: BTreeSet<String> = registered()
        .iter()
        .map(|name| metric_of(name).to_owned())
        .collect();
    assert!(known.len() > 15, "{known:?}");
    let mut seen = 0;
    for rule in rules() {
        let expression = rule["expr"].as_str().unwrap().to_owned();
        for series in metrics_in(&expression) {
            assert!(known.contains(metric_of(series)), "{series}: {known:?}");
            seen += 1;
        }
    }
    assert!(seen >= 9, "{seen}");
}

#[test]
fn every_alert_has_a_page() {
    let pages = fs::read_to_string(project_root().join("docs/operations.md")).unwrap();
    let anchors: BTreeSet<String> = pages
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches(['#', ' ']).to_lowercase())
        .collect();
    for rule in rules() {
        let alert = rule["alert"].as_str().unwrap().to_lowercase();
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert_eq!(
            url,
            format!("https://example.com/docs/operations.md#{alert}")
        );
        assert!(
            anchors.contains(&alert),
            "docs/operations.md has no {alert}"
        );
    }
}

/// The rules as a file of Prometheus' own.
fn rules_file() -> String {
    let rendered = render("cutline", Some("everything"), &[]).unwrap();
    serde_yaml_ng::to_string(&of_kind(&rendered, "PrometheusRule")[0]["spec"]).unwrap()
}

fn cases() -> String {
    fs::read_to_string(project_root().join("integration-tests/deploy/alerts.yaml")).unwrap()
}

#[test]
fn every_alert_fires_when_it_should_and_stays_silent_when_it_should() {
    let files = [("rules.yaml", rules_file()), ("alerts.yaml", cases())];
    promtool(&["check", "rules", "rules.yaml"], &files).unwrap();
    promtool(&["test", "rules", "alerts.yaml"], &files).unwrap();
    let cases: serde_yaml_ng::Value = serde_yaml_ng::from_str(&cases()).unwrap();
    let names: BTreeSet<&str> = cases["tests"]
        .as_sequence()
        .unwrap()
        .iter()
        .map(|case| case["name"].as_str().unwrap())
        .collect();
    for rule in rules() {
        let alert = rule["alert"].as_str().unwrap();
        for how in ["fires", "is silent"] {
            let case = format!("{alert} {how}");
            assert!(names.contains(case.as_str()), "no case {case:?}");
        }
    }
}

#[test]
fn an_alert_that_fires_at_the_wrong_time_would_be_noticed() {
    for (right, wrong) in [
        ("== 1)", "== 0)"),
        ("for: 15m", "for: 5m"),
        ("state=\"lost\"", "state=\"fenced\""),
    ] {
        let rules = rules_file();
        assert!(rules.contains(right), "{right} is not in\n{rules}");
        let files = [
            ("rules.yaml", rules.replace(right, wrong)),
            ("alerts.yaml", cases()),
        ];
        promtool(&["test", "rules", "alerts.yaml"], &files).expect_err(wrong);
    }
}

fn rules() -> Vec<serde_yaml_ng::Value> {
    let rendered = render("cutline", Some("everything"), &[]).unwrap();
    let rules = of_kind(&rendered, "PrometheusRule")[0].clone();
    rules["spec"]["groups"][0]["rules"]
        .as_sequence()
        .unwrap()
        .clone()
}
