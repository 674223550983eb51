//! The harness's end: nothing outlives a test process, however it ends.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use integration_tests::{Process, ProcessSpec, Run, topics::unique_name, wait_for, wait_until};

const DEADLINE: Duration = Duration::from_secs(20);
/// Where the helper below writes down what it started.
const NOTE: &str = "HELPER_NOTE";

/// Not a test by itself: a test process that starts something and is killed.
#[test]
#[ignore = "started by the test below"]
fn helper_that_never_ends() {
    let Some(note) = std::env::var_os(NOTE) else {
        return;
    };
    let log = Run::this().part("sleeper").join("log");
    let sleeper =
        Process::start(ProcessSpec::new("sleeper", "sh", log).args(["-c", "sleep 600 & wait"]));
    let text = format!(
        "{} {}",
        sleeper.pid().unwrap(),
        Run::this().directory().display()
    );
    let unready = PathBuf::from(&note).with_extension("unready");
    std::fs::write(&unready, text).unwrap();
    std::fs::rename(unready, note).unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

fn start_helper(note: &Path) -> Child {
    let mut helper = Command::new(std::env::current_exe().unwrap());
    helper
        .args(["--exact", "helper_that_never_ends", "--ignored"])
        .env(NOTE, note);
    helper
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn nothing_outlives_a_test_process_that_is_killed() {
    let note = std::env::temp_dir().join(unique_name("cutline-note"));
    let mut helper = start_helper(&note);
    let started = wait_for(DEADLINE, "the helper to start something", || async {
        std::fs::read_to_string(&note).ok()
    })
    .await;
    let (pid, directory) = started.split_once(' ').unwrap();
    let process = PathBuf::from(format!("/proc/{pid}"));
    assert!(process.exists() && Path::new(directory).exists());
    helper.kill().unwrap();
    helper.wait().unwrap();
    std::fs::remove_file(&note).unwrap();
    wait_until(DEADLINE, "what it started to end", || async {
        !process.exists()
    })
    .await;
    wait_until(DEADLINE, "what it wrote to go", || async {
        !Path::new(directory).exists()
    })
    .await;
}
