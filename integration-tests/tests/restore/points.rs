//! Who dies right after anything became durable, whatever it was: a checkpoint fails or stands, a restore is given up or goes on to
//! its end, and everything flows again.
//!
//! The points are the programs' own (`cutline-crash`): at the n-th a process dies, for n from 0 on, until one gets to the end alive.
//! So a new durable step is a new point here without anybody thinking of it.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use cutline_crash::{ARMED, DIRECTORY, PASSED};
use integration_tests::{Process, Run, groups, http, restores::is_over, wait_for};
use serde_json::{Value, json};

use crate::world::{FLOW_DEADLINE, Options, RESTORE_DEADLINE, World};

/// More points than anything has: the loops end.
const POINTS_MAX: u64 = 200;
/// How often it is looked how far something is.
const LOOK: Duration = Duration::from_millis(20);
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// What makes `who` one that can be made to die.
pub fn environment(who: &str) -> Vec<(String, String)> {
    let directory = Run::this().part(&format!("points-{who}"));
    vec![(DIRECTORY.into(), directory.display().to_string())]
}

fn directory(process: &mut Process) -> PathBuf {
    let environment = &process.spec_mut().environment;
    let mut named = environment.iter().filter(|(name, _)| name == DIRECTORY);
    let (_, directory) = named.next().expect("a world with crash points");
    PathBuf::from(directory)
}

/// Has `process` die at the point after `alive` others.
fn arm(process: &mut Process, alive: u64) {
    let directory = directory(process);
    // It is not there the first time.
    let _ = fs::remove_file(directory.join(PASSED));
    // All of it at once: a program never sees half a number.
    let new = directory.join("new");
    fs::write(&new, alive.to_string()).unwrap();
    fs::rename(new, directory.join(ARMED)).unwrap();
}

/// What it passed since it was armed, the point it died at last.
fn passed(process: &mut Process) -> Vec<String> {
    let passed = fs::read_to_string(directory(process).join(PASSED));
    passed
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Waits until a process that dies is dead; false when it gets through alive.
async fn dies(process: &mut Process, mut over: impl AsyncFnMut() -> bool) -> bool {
    let armed = directory(process).join(ARMED);
    let began = std::time::Instant::now();
    loop {
        if !armed.exists() {
            // It took that away; it dies any moment.
            process.wait();
            return true;
        }
        if over().await {
            // Over for those who look; what comes after that is passed by then, or never.
            tokio::time::sleep(TRY_AGAIN).await;
            if armed.exists() && fs::remove_file(&armed).is_ok() {
                return false;
            }
            continue;
        }
        assert!(began.elapsed() < RESTORE_DEADLINE, "neither dead nor over");
        tokio::time::sleep(LOOK).await;
    }
}

impl World {
    /// The admin API, or the sidecar of b.
    fn victim(&mut self, the_admin: bool) -> &mut Process {
        if the_admin {
            self.admin.process()
        } else {
            self.b[0].sidecar.process()
        }
    }

    /// Starts who died again, and waits until somebody leads.
    async fn start_again(&mut self, the_admin: bool) {
        if the_admin {
            // How long a dead leader's session lasts other tests see; here it would be most of what is waited for.
            let election = format!("__cutline.{}.coordinator", self.deployment);
            groups::empty(&self.kafka.bootstrap(), &election).await;
        }
        self.victim(the_admin).start_again();
        self.admin.wait_ready().await;
    }
}

/// An answer of an admin API that may be dying.
async fn ask(request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.json().await.ok()?))
}

async fn get(url: &str, path: &str) -> Option<(u16, Value)> {
    ask(http::client().get(format!("{url}{path}"))).await
}

/// True when the newest checkpoint is after `before` and decided.
async fn checkpoint_is_over(url: &str, before: u64) -> bool {
    let Some((200, list)) = get(url, "/v1/checkpoints?limit=1").await else {
        return false;
    };
    let newest = &list["history"][0];
    let decided = ["COMPLETED", "FAILED"]
        .iter()
        .any(|word| newest["status"] == *word);
    newest["epoch"].as_u64() > Some(before) && decided
}

async fn newest_checkpoint(world: &World) -> Value {
    let (_, list) = world.admin.get("/v1/checkpoints?limit=1").await;
    list["history"][0].clone()
}

async fn newest_restore(url: &str) -> Option<Value> {
    let (_, all) = get(url, "/v1/restores").await?;
    all.get(0).cloned()
}

/// Asks for a restore until it is taken, or who is asked is dead.
async fn begin_or_die(world: &World, epoch: u64) {
    let url = format!("{}/v1/restores", world.admin.url());
    wait_for(FLOW_DEADLINE, "a restore to be taken", || async {
        let request = json!({ "epoch": epoch, "safety_checkpoint": false });
        let answer = ask(http::client().post(&url).json(&request)).await;
        let taken = answer.is_none_or(|(status, _)| status == 202);
        if !taken {
            tokio::time::sleep(TRY_AGAIN).await;
        }
        taken.then_some(())
    })
    .await;
}

async fn crashing_world() -> World {
    let options = Options {
        crashing: true,
        ..Options::default()
    };
    World::start(options).await
}

#[tokio::test]
async fn an_admin_api_that_dies_at_any_point_of_a_checkpoint_leaves_it_whole_or_failed() {
    dies_at_any_point_of_a_checkpoint(true).await;
}

#[tokio::test]
async fn a_sidecar_that_dies_at_any_point_of_a_checkpoint_leaves_it_whole_or_failed() {
    dies_at_any_point_of_a_checkpoint(false).await;
}

async fn dies_at_any_point_of_a_checkpoint(the_admin: bool) {
    let mut world = crashing_world().await;
    world.checkpoint("aligned").await;
    let mut points = BTreeSet::new();
    for alive in 0..POINTS_MAX {
        world.wait_for_flow(20).await;
        let before = world.checkpoint("aligned").await;
        let url = world.admin.url();
        let process = world.victim(the_admin);
        arm(process, alive);
        // Whether it is answered does not matter.
        let asked = http::client().post(format!("{url}/v1/checkpoints"));
        ask(asked.json(&json!({}))).await;
        let died = dies(process, async || checkpoint_is_over(&url, before).await).await;
        let at = passed(process).pop().unwrap_or_default();
        if !died {
            break;
        }
        world.start_again(the_admin).await;
        wait_for(RESTORE_DEADLINE, "the checkpoint to be over", || async {
            checkpoint_is_over(&url, before - 1).await.then_some(())
        })
        .await;
        whole_or_failed(&world, &at).await;
        points.insert(at);
    }
    eprintln!("{} points: {points:#?}", points.len());
    assert!(points.len() >= 3, "{points:?}");
    world.wait_for_flow(100).await;
    world.settle_and_check("reader").await;
}

async fn whole_or_failed(world: &World, at: &str) {
    let left = newest_checkpoint(world).await;
    eprintln!(
        "died after {at}: {} {} {}",
        left["epoch"], left["status"], left["reason"]
    );
    let epoch = left["epoch"].as_u64().unwrap();
    if left["status"] == "COMPLETED" {
        let verify = format!("/v1/checkpoints/{epoch}/verify");
        let (status, report) = world.admin.post(&verify, &json!({})).await;
        assert_eq!((status, &report["problems"]), (200, &json!([])), "{report}");
    } else {
        assert_eq!(left["status"], "FAILED", "{left}");
    }
}

#[tokio::test]
async fn an_admin_api_that_dies_at_any_point_of_a_restore_leaves_one_world_or_the_other() {
    let (gave_up, went_on) = dies_at_any_point_of_a_restore(true).await;
    assert!(
        gave_up > 2 && went_on > 2,
        "{gave_up} gave up, {went_on} went on"
    );
}

#[tokio::test]
async fn a_sidecar_that_dies_at_any_point_of_a_restore_leaves_one_world_or_the_other() {
    let (gave_up, went_on) = dies_at_any_point_of_a_restore(false).await;
    // A sidecar makes one thing durable in a restore: the state it puts back.
    assert!(
        gave_up + went_on > 0,
        "{gave_up} gave up, {went_on} went on"
    );
}

/// How many restores were given up and how many went on.
async fn dies_at_any_point_of_a_restore(the_admin: bool) -> (usize, usize) {
    let mut world = crashing_world().await;
    let epoch = world.checkpoint("aligned").await;
    let (mut gave_up, mut went_on) = (0, 0);
    for alive in 0..POINTS_MAX {
        world.wait_for_flow(20).await;
        let url = world.admin.url();
        let before = newest_restore(&url).await.unwrap_or_default()["id"].clone();
        let process = world.victim(the_admin);
        arm(process, alive);
        begin_or_die(&world, epoch).await;
        let over = async || {
            let newest = newest_restore(&url).await.unwrap_or_default();
            newest["id"] != before && is_over(&newest)
        };
        let process = world.victim(the_admin);
        let died = dies(process, over).await;
        let passed = passed(process);
        if !died {
            eprintln!("{} points: {passed:#?}", passed.len());
            break;
        }
        world.start_again(the_admin).await;
        let view = wait_for(RESTORE_DEADLINE, "the restore to be over", || async {
            let newest = newest_restore(&url).await.unwrap_or_default();
            (newest.is_null() || is_over(&newest)).then_some(newest)
        })
        .await;
        let at = passed.last().cloned().unwrap_or_default();
        eprintln!(
            "died after {at}: {} {} {}",
            view["id"], view["status"], view["reason"]
        );
        if view["status"] == "COMPLETED" {
            went_on += 1;
        } else {
            gave_up += 1;
            nothing_was_touched(&world, &view).await;
        }
    }
    world.wait_for_flow(100).await;
    world.settle_and_check("reader").await;
    (gave_up, went_on)
}

async fn nothing_was_touched(world: &World, given_up: &Value) {
    let path = format!("/v1/restores/{}", given_up["id"].as_str().unwrap());
    let (_, view) = world.admin.get(&path).await;
    let steps = view["journal"].as_array().expect("a journal");
    let touched = steps.iter().any(|step| step["step"] == "state_begun");
    assert!(!steps.is_empty() && !touched, "{view}");
}
