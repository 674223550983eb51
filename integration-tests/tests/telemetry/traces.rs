//! A checkpoint and a restore are one trace each, across all programs, and nothing else is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use integration_tests::{OtlpReceiver, ReceivedSpan, wait_until};
use serde_json::{Value, json};

use crate::{lines, world::World};

/// Batches wait a second; after that nothing is on its way.
const ARRIVAL: Duration = Duration::from_secs(20);
/// A trace and its parent, as a caller has them.
const CALLER: (&str, &str) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");

/// What the admin API does for a checkpoint. Waiting for the parts is none of it: they may be there before they are waited for.
const COORDINATION: [&str; 5] = ["prepare", "arm", "go", "bound", "commit"];
/// What every sidecar does for one. Shutting the gate is none of it: it may be shut at once.
const SHARE: [&str; 8] = [
    "take part",
    "take pairs",
    "pause",
    "alignment",
    "quiesce",
    "record",
    "mark",
    "upload",
];

struct Trace<'a> {
    id: &'a str,
    spans: Vec<&'a ReceivedSpan>,
}

impl<'a> Trace<'a> {
    fn of(all: &'a [ReceivedSpan], id: &'a str) -> Self {
        let spans = all.iter().filter(|span| span.trace == id).collect();
        Self { id, spans }
    }

    fn named(&self, name: &str) -> Vec<&'a ReceivedSpan> {
        let named = self.spans.iter().filter(|span| span.name == name);
        named.copied().collect()
    }

    /// One first span and no orphan; every part begins within the whole, give or take what clocks are read apart.
    fn is_whole(&self, first: &str, outer: &str) {
        let ids: BTreeSet<&str> = self.spans.iter().map(|span| span.id.as_str()).collect();
        assert_eq!(ids.len(), self.spans.len(), "a span came twice");
        let firsts = self.spans.iter().filter(|span| span.parent == outer);
        let firsts: Vec<_> = firsts.collect();
        assert_eq!(firsts.len(), 1, "{}: {firsts:?}", self.id);
        assert_eq!(firsts[0].name, first);
        let (began, ended) = firsts[0].times;
        for span in &self.spans {
            let (parent, name) = (span.parent.as_str(), &span.name);
            assert!(
                parent == outer || ids.contains(parent),
                "{name} of {} is an orphan",
                span.instance
            );
            assert!(span.times.0 <= span.times.1, "{span:?}");
            let slack = 5_000_000;
            assert!(span.times.0 + slack >= began, "{name} before its trace");
            assert!(span.times.0 <= ended + slack, "{name} after its trace");
            assert!(!span.failed, "{span:?}");
        }
    }

    fn instances_of(&self, name: &str) -> BTreeSet<&'a str> {
        let named = self.named(name).into_iter();
        named.map(|span| span.instance.as_str()).collect()
    }
}

fn both() -> BTreeSet<&'static str> {
    ["bank-a/0", "bank-b/0"].into()
}

/// A checkpoint by both sidecars, in whichever trace.
fn is_a_checkpoint(trace: &Trace<'_>) {
    for name in COORDINATION {
        let spans = trace.named(name);
        let admin = |span: &&ReceivedSpan| span.program == "cutline-admin";
        assert!(spans.iter().any(admin), "no {name} in {}", trace.id);
    }
    for name in SHARE {
        // A restore has a step of its own by that name.
        let spans = trace.named(name).into_iter();
        let shares = spans.filter(|span| span.program == "cutline-sidecar");
        let shares: BTreeSet<&str> = shares.map(|span| span.instance.as_str()).collect();
        assert_eq!(shares, both(), "{name} in {}", trace.id);
    }
    let puts = trace.instances_of("store put");
    assert!(puts.is_superset(&both()) && puts.len() == 3, "{puts:?}");
    let bytes = trace.named("store put").into_iter();
    let bytes: u64 = bytes
        .map(|put| put.attributes["bytes"].parse::<u64>().unwrap())
        .sum();
    assert!(bytes > 0);
    for verb in ["hook pause", "hook snapshot", "hook resume"] {
        assert_eq!(trace.instances_of(verb), ["bank-b/0"].into(), "{verb}");
    }
}

fn is_a_restore(trace: &Trace<'_>) {
    for step in [
        "quiesce",
        "fence",
        "restore_states",
        "commit_offsets",
        "lift",
    ] {
        let spans = trace.named(step);
        let admin = |span: &&ReceivedSpan| span.program == "cutline-admin";
        assert!(spans.iter().any(admin), "no {step}");
    }
    assert_eq!(trace.instances_of("put state back"), both());
    assert_eq!(trace.instances_of("hook restore"), ["bank-b/0"].into());
    let gets = trace.instances_of("store get");
    assert!(gets.is_superset(&both()), "{gets:?}");
}

#[tokio::test]
async fn a_checkpoint_and_a_rollback_are_one_trace_each_across_all_programs() {
    let receiver = OtlpReceiver::start().await;
    let world = World::start(Some(&receiver.endpoint())).await;
    let (checkpoint, restore) = world.checkpoint_and_roll_back().await;
    let epoch = &checkpoint["epoch"];
    let detail = world.get(&format!("/v1/checkpoints/{epoch}")).await;
    let taken = detail["trace_id"].as_str().unwrap().to_owned();
    let id = restore["id"].as_str().unwrap();
    let detail = world.get(&format!("/v1/restores/{id}")).await;
    let restored = detail["trace_id"].as_str().unwrap().to_owned();
    // A caller that has a trace of its own gets the checkpoint into it.
    let traceparent = format!("00-{}-{}-01", CALLER.0, CALLER.1);
    let begun = world
        .post("/v1/checkpoints", &json!({}), &traceparent)
        .await;
    let asked = format!("/v1/checkpoints/{}", begun["epoch"]);
    wait_until(ARRIVAL, "the caller's checkpoint", || async {
        world.get(&asked).await["status"] == "COMPLETED"
    })
    .await;
    assert_eq!(world.get(&asked).await["trace_id"], CALLER.0);

    let ended = |name: &str, id: &str| {
        let spans = receiver.spans();
        let of_it = |span: &ReceivedSpan| span.trace == id && span.name == name;
        spans.iter().any(of_it)
    };
    let shares = || {
        let spans = receiver.spans();
        let shares = spans.iter().filter(|span| span.name == "take part");
        // Two for each checkpoint, and two for the one before the rollback.
        shares.count() == 6
    };
    wait_until(ARRIVAL, "all spans to arrive", || async {
        ended("checkpoint", &taken)
            && ended("restore", &restored)
            && ended("checkpoint", CALLER.0)
            && shares()
    })
    .await;
    let spans = receiver.spans();
    let traces: BTreeSet<&str> = spans.iter().map(|span| span.trace.as_str()).collect();
    let expected = [taken.as_str(), restored.as_str(), CALLER.0];
    assert_eq!(traces, expected.into(), "a trace that is about nothing");

    let trace = Trace::of(&spans, &taken);
    trace.is_whole("checkpoint", "");
    is_a_checkpoint(&trace);
    let root = trace.named("checkpoint")[0];
    let told: BTreeMap<&str, String> = [
        ("epoch", epoch.to_string()),
        ("mode", "aligned".to_owned()),
        ("outcome", "completed".to_owned()),
    ]
    .into();
    for (key, value) in told {
        assert_eq!(root.attributes[key], value, "{key}");
    }

    let trace = Trace::of(&spans, &restored);
    trace.is_whole("restore", "");
    is_a_restore(&trace);
    // The safety checkpoint is a part of it.
    is_a_checkpoint(&trace);
    assert_eq!(trace.named("restore")[0].attributes["outcome"], "completed");

    let trace = Trace::of(&spans, CALLER.0);
    trace.is_whole("checkpoint", CALLER.1);
    is_a_checkpoint(&trace);

    lines_name_traces(
        world,
        &[
            (epoch.clone(), taken),
            (begun["epoch"].clone(), CALLER.0.to_owned()),
        ],
    );
}

/// Every line of every program is what it should be, and those about an epoch name its trace.
fn lines_name_traces(mut world: World, epochs: &[(Value, String)]) {
    let mut logs = vec![world.admin.process().log().to_owned()];
    let instances = world.bank.instances.iter_mut();
    let sidecars = instances.filter_map(|instance| instance.sidecar.as_mut());
    logs.extend(sidecars.map(|sidecar| sidecar.process().log().to_owned()));
    assert_eq!(logs.len(), 3);
    for log in logs {
        let lines = lines::read(&log);
        for (epoch, trace) in epochs {
            let about = lines.iter().filter(|line| &line["epoch"] == epoch);
            let ids: Vec<&Value> = about.map(|line| &line["correlationId"]).collect();
            assert!(!ids.is_empty(), "{} says nothing of {epoch}", log.display());
            // A restore to an epoch is about it too, in a trace of its own.
            assert!(ids.iter().any(|id| *id == trace), "{ids:?}");
            assert!(ids.iter().all(|id| id.is_string()), "{ids:?}");
        }
    }
}
