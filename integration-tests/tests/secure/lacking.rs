//! One right less than documented: where it is missed, and that it is told which right that was.
//!
//! A right is missed by a checkpoint, by a restore, or by a program that comes up. One that nothing misses should not be documented,
//! and is a failure here.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use integration_tests::{Process, checkpoints, restores::is_over, wait_for, wait_until};
use serde_json::{Value, json};

use crate::{
    cluster::Right,
    rights::named,
    world::{DEADLINE, World},
};

const LOOK: Duration = Duration::from_millis(50);

/// Listens for what is told of a right from now on.
struct Ear {
    log: PathBuf,
    heard_before: usize,
    words: Vec<String>,
}

impl Ear {
    fn for_lack_of(right: &Right, all: &[Right], world: &mut World) -> Self {
        let log = process(world, right).log().to_owned();
        let mut words = vec![named(right)];
        // Whoever may read, write or delete may describe. That is asked first, and is what is missed where nothing else implies it.
        let alone = !all
            .iter()
            .any(|other| other.operation != right.operation && is_beside(other, right));
        if alone {
            let describes = Right {
                operation: "Describe".into(),
                ..right.clone()
            };
            words.push(named(&describes));
        }
        Self {
            heard_before: std::fs::read(&log).map_or(0, |text| text.len()),
            log,
            words,
        }
    }

    /// Whether `text` tells of it.
    fn hears(&self, text: &str) -> bool {
        let tells = |line: &str| {
            line.contains("CL0611") && self.words.iter().any(|words| line.contains(words))
        };
        text.lines().any(tells)
    }

    /// Whether `answer`, or the log since, tells of it.
    fn hears_of(&self, answer: &Value) -> bool {
        self.hears(&answer.to_string()) || self.hears_log()
    }

    fn hears_log(&self) -> bool {
        let text = std::fs::read(&self.log).unwrap_or_default();
        self.hears(&String::from_utf8_lossy(
            text.get(self.heard_before..).unwrap_or_default(),
        ))
    }
}

fn is_beside(one: &Right, other: &Right) -> bool {
    (&one.user, &one.kind, &one.name) == (&other.user, &other.kind, &other.name)
}

fn process<'a>(world: &'a mut World, right: &Right) -> &'a mut Process {
    match right.user.as_str() {
        "admin" => world.admin.process(),
        _ => world.sidecar.process(),
    }
}

/// Whether it is over what is Cutline's own, and so missed by a program that comes up.
pub fn is_own(right: &Right) -> bool {
    right.name.starts_with("__cutline")
}

/// Takes `right`, one of `all`, away until its lack was told of, and has everything go on with it again.
pub async fn without(world: &mut World, right: &Right, all: &[Right]) {
    let begun = Instant::now();
    let ear = Ear::for_lack_of(right, all, world);
    if right.operation == "Delete" {
        world.reads_what_was_added().await;
    }
    world.cluster.revoke(right).await;
    let told = told(world, right, &ear).await;
    world.cluster.grant(right).await;
    goes_on(world).await;
    eprintln!(
        "{}: {} was told of {told}, in {:?}",
        right.user,
        named(right),
        begun.elapsed()
    );
}

async fn told(world: &mut World, right: &Right, ear: &Ear) -> &'static str {
    let own = is_own(right);
    if !own && checkpoint_tells(world, ear).await {
        return "by a checkpoint";
    }
    if !own && restore_tells(world, ear).await {
        return "by a restore";
    }
    start_tells(world, right, ear).await;
    "by a start"
}

async fn checkpoint_tells(world: &World, ear: &Ear) -> bool {
    let (status, answer) = world.admin.post("/v1/checkpoints", &json!({})).await;
    if status != 202 {
        return ear.hears_of(&answer);
    }
    let attempts = checkpoints::follow(&world.admin, &answer).await;
    attempts.values().any(|detail| ear.hears_of(detail))
}

async fn restore_tells(world: &World, ear: &Ear) -> bool {
    let (status, answer) = world.restore().await;
    if status != 202 {
        return ear.hears_of(&answer);
    }
    let id = answer["id"].as_str().unwrap();
    let told = wait_for(DEADLINE, "the restore to tell something", || async {
        let view = world.view(id).await;
        let told = ear.hears_of(&view);
        (told || is_over(&view)).then_some(told)
    });
    told.await
}

/// In its log, or in the reason of the first checkpoint that it is asked for. It does not run then.
async fn start_tells(world: &mut World, right: &Right, ear: &Ear) {
    let started = process(world, right);
    started.kill();
    started.start_again();
    let begun = Instant::now();
    while !ear.hears_log() {
        let ready = world.admin.is_leading().await;
        if ready && checkpoint_tells(world, ear).await {
            break;
        }
        assert!(
            begun.elapsed() < DEADLINE,
            "nothing tells of {}: {}",
            named(right),
            process(world, right).log_tail(10)
        );
        tokio::time::sleep(LOOK).await;
    }
    // It ends by itself sooner or later, or not at all.
    process(world, right).kill();
}

/// Programs that ended are started again, a restore that waited completes, and orders are billed.
async fn goes_on(world: &mut World) {
    for process in [world.admin.process(), world.sidecar.process()] {
        if !process.is_running() {
            process.start_again();
        }
    }
    world.admin.wait_ready().await;
    world.sidecar.wait_ready().await;
    wait_until(DEADLINE, "no restore to be left", || async {
        let (status, list) = world.admin.get("/v1/restores").await;
        status == 200 && list.as_array().is_some_and(|all| all.iter().all(is_over))
    })
    .await;
    world.works().await;
}
