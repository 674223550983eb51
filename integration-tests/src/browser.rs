//! A person at the dashboard: a script that drives a real browser, one step of what people do at a time.
//!
//! It promises that a step ends within its deadline, and that what the page showed is told when it went wrong. What has to be seen is
//! the script's, in `integration-tests/browser`.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::binaries::{browser_python, project_root};

/// How long a step may take; those that wait for a rollback are long.
const STEP_DEADLINE: Duration = Duration::from_secs(240);

/// One step under way.
#[derive(Debug)]
pub struct Browser {
    step: &'static str,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    /// Begins `step`.
    ///
    /// # Panics
    /// When it cannot be begun.
    pub async fn start(step: &'static str, parameters: &Value) -> Self {
        let python = tokio::task::spawn_blocking(browser_python)
            .await
            .expect("an interpreter is found or a panic told why not");
        let mut child = Command::new(python)
            .arg(project_root().join("integration-tests/browser/dashboard.py"))
            .args([step, &parameters.to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("an interpreter can be run");
        let input = child.stdin.take().expect("it was asked for");
        let output = child.stdout.take().expect("it was asked for");
        Self {
            step,
            child,
            input,
            output: BufReader::new(output).lines(),
        }
    }

    /// Begins `step` and waits for its end: what it found.
    ///
    /// # Panics
    /// When anything was not as it has to be.
    pub async fn run(step: &'static str, parameters: &Value) -> Value {
        Self::start(step, parameters).await.verdict().await
    }

    /// Waits until it says `word`.
    ///
    /// # Panics
    /// When it says something else.
    pub async fn says(&mut self, word: &str) {
        let line = timeout(STEP_DEADLINE, self.output.next_line()).await;
        let line = line.expect("a step has a deadline").expect("text");
        assert_eq!(line.as_deref(), Some(word), "the step {}", self.step);
    }

    /// What it waits for has happened.
    ///
    /// # Panics
    /// When it does not listen.
    pub async fn go_on(&mut self) {
        let told = self.input.write_all(b"\n").await;
        told.expect("a step that waits reads");
    }

    /// Waits for its end: what it found.
    ///
    /// # Panics
    /// When anything was not as it has to be.
    pub async fn verdict(mut self) -> Value {
        let mut said = Vec::new();
        let ended = timeout(STEP_DEADLINE, async {
            while let Ok(Some(line)) = self.output.next_line().await {
                said.push(line);
            }
            self.child.wait().await
        })
        .await;
        let status = ended
            .unwrap_or_else(|_| panic!("the step {} took longer than {STEP_DEADLINE:?}", self.step))
            .expect("a child can be waited for");
        assert!(
            status.success(),
            "the step {}:\n{}",
            self.step,
            said.join("\n")
        );
        let last = said.last().map_or("", String::as_str);
        serde_json::from_str(last).expect("the last line is what it found")
    }
}
