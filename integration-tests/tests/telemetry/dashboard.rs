//! The dashboard asks a real Prometheus for what the programs really tell: every expression parses, names metrics and labels that there
//! are, and shows something after a checkpoint and a rollback.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use integration_tests::{
    Prometheus, binaries::project_root, http, prometheus::Target, wait_for, wait_until,
};
use serde_json::Value;

use crate::world::World;

const SCRAPED: Duration = Duration::from_secs(20);
/// What Prometheus adds by itself or by the rules of a scrape.
const OF_TARGETS: [&str; 4] = ["job", "instance", "namespace", "pod"];

/// An expression of the dashboard, with the panel it is in.
struct Shown {
    panel: String,
    expression: String,
}

/// What the programs tell: the names of series, each with its labels.
type Told = BTreeMap<String, BTreeSet<String>>;

fn shown() -> Vec<Shown> {
    let file = project_root().join("charts/cutline/dashboards/cutline.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut shown = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            shown.push(Shown {
                panel: panel["title"].as_str().unwrap().to_owned(),
                expression: expression
                    .replace("$__rate_interval", "1m")
                    .replace("$__range", "1h")
                    .replace("$job", ".+"),
            });
        }
    }
    assert!(shown.len() > 30, "{}", shown.len());
    shown
}

/// Every series of a `/metrics`.
fn read(text: &str, told: &mut Told) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let labels = told.entry(name.to_owned()).or_default();
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        for label in inside.map_or("", |(inside, _)| inside).split("\",") {
            let name = label.split('=').next().unwrap_or_default();
            if !name.is_empty() {
                labels.insert(name.to_owned());
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The series an expression names.
fn series(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|c| !is_word(c));
    words.filter(|word| word.starts_with("cutline_")).collect()
}

/// The labels an expression matches or groups by.
fn labels(expression: &str) -> BTreeSet<&str> {
    let mut labels = BTreeSet::new();
    for inside in expression.split('{').skip(1) {
        let inside = inside.split('}').next().unwrap();
        let matchers = inside.split(',');
        labels.extend(matchers.map(|matcher| matcher.split(['=', '!']).next().unwrap().trim()));
    }
    for inside in expression.split("by (").skip(1) {
        let inside = inside.split(')').next().unwrap();
        labels.extend(inside.split(',').map(str::trim));
    }
    labels
}

async fn told(world: &World) -> Told {
    let client = http::client();
    let mut told = Told::new();
    let admin = client.get(format!("{}/metrics", world.admin.url()));
    let answer = admin.bearer_auth(&world.token).send().await.unwrap();
    read(&answer.text().await.unwrap(), &mut told);
    for sidecar in world.sidecars() {
        let url = format!("{}/metrics", sidecar.metrics_url());
        let answer = client.get(url).send().await.unwrap();
        read(&answer.text().await.unwrap(), &mut told);
    }
    told
}

fn targets(world: &World) -> Vec<Target> {
    let target = |job: &str, address: String, token: Option<&String>| Target {
        job: job.to_owned(),
        address,
        token: token.cloned(),
        labels: vec![("namespace".to_owned(), "money".to_owned())],
    };
    let admin = format!("127.0.0.1:{}", world.admin.port());
    let mut targets = vec![target("admin", admin, Some(&world.token))];
    for sidecar in world.sidecars() {
        let address = sidecar.metrics_url().replace("http://", "");
        targets.push(target("sidecars", address, None));
    }
    targets
}

#[tokio::test]
async fn every_panel_shows_what_the_programs_tell_a_real_prometheus() {
    let world = World::start(None).await;
    let prometheus = Prometheus::start(&targets(&world)).await;
    wait_until(SCRAPED, "all three to be scraped", || async {
        let up = prometheus.query("sum(up)").await.unwrap();
        up.first().is_some_and(|sum| sum["value"][1] == "3")
    })
    .await;
    world.checkpoint_and_roll_back().await;
    wait_until(SCRAPED, "the restore to be scraped", || async {
        let done = prometheus.query("cutline_restore_completed_total > 0");
        !done.await.unwrap().is_empty()
    })
    .await;
    let told = told(&world).await;
    for Shown { panel, expression } in shown() {
        let names = series(&expression);
        assert!(!names.is_empty(), "{panel}: {expression}");
        let mut known: BTreeSet<&str> = OF_TARGETS.into();
        for name in names {
            let labels = told.get(name);
            let labels = labels.unwrap_or_else(|| panic!("{panel}: nobody tells {name}"));
            known.extend(labels.iter().map(String::as_str));
        }
        for label in labels(&expression) {
            assert!(known.contains(label), "{panel}: no {label} in {expression}");
        }
        let what = format!("{panel} to show something: {expression}");
        wait_for(SCRAPED, &what, || async {
            let series = prometheus.query(&expression).await.unwrap();
            (!series.is_empty()).then_some(())
        })
        .await;
    }
    figures_are_right(&prometheus).await;
}

/// A few figures that can be known.
async fn figures_are_right(prometheus: &Prometheus) {
    for (expression, least) in [
        ("max(cutline_checkpoint_objective_seconds)", 60.0),
        ("sum(cutline_checkpoints_completed_total)", 1.0),
        ("sum(cutline_records_delivered_total)", 1_000.0),
        // No record of the bank is shorter, and headers of batches count.
        (
            "sum(cutline_bytes_delivered_total) / sum(cutline_records_delivered_total)",
            10.0,
        ),
        ("sum(cutline_masked_bytes_total)", 1.0),
        (
            "count(cutline_store_request_seconds_count{op=\"put\"})",
            3.0,
        ),
        (
            "sum(cutline_admin_request_seconds_count{route=\"/v1/restores\",method=\"POST\",status=\"202\"})",
            1.0,
        ),
    ] {
        // What happened last may be in nobody's figures yet: masked records are counted when somebody reads past them.
        let what = format!("{expression} to be {least} at least");
        wait_until(SCRAPED, &what, || async {
            let found = prometheus.query(expression).await.unwrap();
            let value = found.first().and_then(|series| series["value"][1].as_str());
            let value: f64 = value.unwrap_or("0").parse().unwrap();
            value >= least
        })
        .await;
    }
    let age = "time() - cutline_last_checkpoint_completed_timestamp_seconds";
    let age = prometheus.query(age).await.unwrap();
    let age: f64 = age[0]["value"][1].as_str().unwrap().parse().unwrap();
    assert!((0.0..120.0).contains(&age), "{age}");
}

#[test]
fn an_expression_is_taken_apart_as_the_test_needs_it() {
    let expression =
        "sum by (le, op) (rate(cutline_a_bucket{job=~\"x\",op!=\"y\"}[1m])) / cutline_b";
    assert_eq!(series(expression), ["cutline_a_bucket", "cutline_b"].into());
    assert_eq!(labels(expression), ["job", "le", "op"].into());
    let mut told = Told::new();
    read(
        "# HELP x\ncutline_a_total{topic=\"a,b\",op=\"x\"} 3\ncutline_b 1\n# EOF",
        &mut told,
    );
    assert_eq!(
        told["cutline_a_total"],
        ["op".to_owned(), "topic".to_owned()].into()
    );
    assert!(told["cutline_b"].is_empty());
}
