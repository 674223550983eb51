//! A checkpoint taken and gone back to by the command line, as a user would.
//!
//! It reports what it is told; what an example's state is like afterwards is for the example's auditor.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::admin::Admin;

/// Positions of a group, by topic and partition.
pub type Positions = BTreeMap<(String, i64), Option<i64>>;

/// A checkpoint, whatever became of it.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Its number.
    pub epoch: String,
    /// Its last status word, or what the command line said instead.
    pub status: String,
    /// Everything that `GET /v1/checkpoints/{epoch}` tells.
    pub detail: Value,
}

impl Cut {
    /// Takes one, aligned.
    pub async fn take(admin: &Admin) -> Self {
        let create = [
            "checkpoint",
            "create",
            "--mode",
            "aligned",
            "--wait",
            "-o",
            "json",
        ];
        let (answer, status) = run(admin, &create).await;
        let epoch = answer["epoch"].to_string();
        let (_, detail) = admin.get(&format!("/v1/checkpoints/{epoch}")).await;
        Self {
            epoch,
            status,
            detail,
        }
    }

    /// Goes back to it; the restore's last status word, or what the command line said instead.
    pub async fn roll_back(&self, admin: &Admin) -> String {
        let create = ["restore", "create", &self.epoch, "--wait", "-o", "json"];
        run(admin, &create).await.1
    }

    /// Whether it can be gone back to.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.status == "COMPLETED"
    }

    /// The longest pause of any process, in milliseconds.
    #[must_use]
    pub fn pause_ms_max(&self) -> f64 {
        let pauses = self
            .processes()
            .filter_map(|process| process["pause_ms"].as_f64());
        pauses.fold(0.0, f64::max)
    }

    /// Bytes of state in it.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        let sizes = self
            .processes()
            .filter_map(|process| process["state_size"].as_u64());
        sizes.sum()
    }

    /// Where a service stands in it.
    #[must_use]
    pub fn positions(&self, service: &str) -> Positions {
        let own = self
            .processes()
            .filter(|process| process["service"] == service);
        let positions = own
            .filter_map(|process| process["positions"].as_array())
            .flatten();
        let known = positions.map(|position| {
            let topic = position["topic"].as_str().unwrap_or_default().to_owned();
            let partition = position["partition"].as_i64().unwrap_or(-1);
            ((topic, partition), position["offset"].as_i64())
        });
        known.collect()
    }

    fn processes(&self) -> impl Iterator<Item = &Value> {
        self.detail["processes"].as_array().into_iter().flatten()
    }
}

async fn run(admin: &Admin, arguments: &[&str]) -> (Value, String) {
    let output = admin.cutline(arguments).await;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let word = answer["status"].as_str().map(str::to_owned);
    let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let status = word.unwrap_or_else(said);
    (answer, status)
}
