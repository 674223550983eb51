//! What the run asks of whichever admin API leads, over REST, again and again until it is answered.
//!
//! An answer may be lost, and a leader may be gone between two questions: nothing here takes a silence for a no.

use std::time::{Duration, Instant};

use integration_tests::{checkpoints::at_work, http, restores::is_over, wait_at_most, wait_for};
use serde_json::{Value, json};

use crate::stage::Stage;

/// How long a question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long anything asked for may take until it is done, with all that is in its way.
const DONE_LIMIT: Duration = Duration::from_secs(180);
/// How long to wait before asking for the same again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How many of the newest checkpoints are looked at.
const LIST_MAX: usize = 200;

/// The leader, as the run asks it.
pub struct Control {
    client: reqwest::Client,
    urls: Vec<String>,
}

impl Control {
    /// Over the admin APIs of `stage`.
    #[must_use]
    pub fn of(stage: &Stage) -> Self {
        Self {
            client: http::client(),
            urls: stage
                .admins
                .iter()
                .map(integration_tests::Admin::url)
                .collect(),
        }
    }

    /// Takes a checkpoint that is kept, as often as it takes: its epoch.
    ///
    /// # Errors
    /// When none completes in time: the last that was heard.
    pub async fn checkpoint(&self, mode: &str, savepoint: &str) -> Result<u64, String> {
        let mut last = String::from("nothing was answered");
        let request = json!({ "mode": mode, "savepoint": savepoint });
        let start = Instant::now();
        while start.elapsed() < DONE_LIMIT {
            match self.post("/v1/checkpoints", &request).await {
                Some((202, accepted)) => match self.ended_checkpoint(&accepted).await {
                    Ok(epoch) => return Ok(epoch),
                    Err(why) => last = why,
                },
                Some((_, problem)) => last = problem.to_string(),
                None => {}
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Err(last)
    }

    async fn ended_checkpoint(&self, accepted: &Value) -> Result<u64, String> {
        let mut epoch = accepted["epoch"].as_u64().ok_or("no epoch")?;
        loop {
            let path = format!("/v1/checkpoints/{epoch}");
            let ended = wait_at_most(DONE_LIMIT, || async {
                let (status, detail) = self.get(&path).await?;
                let over = detail["status"] == "COMPLETED" || detail["status"] == "FAILED";
                (status == 200 && over).then_some(detail)
            });
            let detail = ended.await;
            let detail = detail.ok_or_else(|| format!("checkpoint {epoch} does not end"))?;
            if detail["status"] == "COMPLETED" {
                return Ok(epoch);
            }
            let Some(next) = detail["retried_as"].as_u64() else {
                return Err(format!("checkpoint {epoch}: {}", detail["reason"]));
            };
            epoch = next;
        }
    }

    /// Sets how often checkpoints are taken; `None`: none are.
    pub async fn schedule(&self, interval_ms: Option<u64>, mode: &str) {
        let terms = json!({ "interval_ms": interval_ms, "mode": mode });
        wait_for(DONE_LIMIT, "the schedule to be taken", || async {
            let (status, _) = self.put("/v1/schedule", &terms).await?;
            (status == 200).then_some(())
        })
        .await;
    }

    /// The epochs after `after` that completed, once none is in progress.
    pub async fn completed_since(&self, after: u64) -> Vec<u64> {
        let path = format!("/v1/checkpoints?limit={LIST_MAX}");
        let list = wait_for(DONE_LIMIT, "no checkpoint to be in progress", || async {
            let (status, list) = self.get(&path).await?;
            (status == 200 && list["counts"]["in_progress"] == 0).then_some(list)
        })
        .await;
        let history = list["history"].as_array().into_iter().flatten();
        let completed = history.filter(|view| view["status"] == "COMPLETED");
        let epochs = completed.filter_map(|view| view["epoch"].as_u64());
        epochs.filter(|epoch| *epoch > after).collect()
    }

    /// Begins a restore, as often as it takes: its id.
    ///
    /// # Errors
    /// When it is refused all the time: the last that was heard.
    pub async fn begin_restore(&self, epoch: u64) -> Result<String, String> {
        let mut last = String::from("nothing was answered");
        let request = json!({ "epoch": epoch, "safety_checkpoint": false });
        let start = Instant::now();
        while start.elapsed() < DONE_LIMIT {
            match self.post("/v1/restores", &request).await {
                Some((202, view)) => return Ok(word(&view["id"])),
                Some((_, problem)) => last = problem.to_string(),
                // The answer may have been lost: then it runs, and the next one is refused until it has ended.
                None => {}
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Err(last)
    }

    /// How a restore ended: its status, and its view.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn ended_restore(&self, id: &str) -> Result<(String, Value), String> {
        let path = format!("/v1/restores/{id}");
        let ended = wait_at_most(DONE_LIMIT, || async {
            let (status, view) = self.get(&path).await?;
            let over = status == 200 && is_over(&view);
            over.then(|| (word(&view["status"]), view))
        });
        match ended.await {
            Some(ended) => Ok(ended),
            None => Err(format!(
                "restore {id} does not end: {:?}",
                self.get(&path).await
            )),
        }
    }

    /// Reads a checkpoint whole and compares every hash.
    ///
    /// # Errors
    /// When it is not readable: what was said.
    pub async fn verify(&self, epoch: u64) -> Result<(), String> {
        let path = format!("/v1/checkpoints/{epoch}/verify");
        let answer = wait_at_most(DONE_LIMIT, || async {
            let (status, answer) = self.post(&path, &json!({})).await?;
            (status != 503 && status != 429).then_some((status, answer))
        });
        match answer.await {
            Some((200, answer)) if answer["whole"] == true => Ok(()),
            answer => Err(format!("{answer:?}")),
        }
    }

    /// Waits until `sidecars` are connected and show what their applications read.
    pub async fn connected(&self, sidecars: usize) -> bool {
        let all = wait_at_most(DONE_LIMIT, || async {
            let (status, seen) = self.get("/v1/sidecars").await?;
            (status == 200 && at_work(&seen) == sidecars).then_some(())
        });
        all.await.is_some()
    }

    async fn get(&self, path: &str) -> Option<(u16, Value)> {
        self.ask(|url| self.client.get(format!("{url}{path}")))
            .await
    }

    async fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        self.ask(|url| self.client.post(format!("{url}{path}")).json(body))
            .await
    }

    async fn put(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        self.ask(|url| self.client.put(format!("{url}{path}")).json(body))
            .await
    }

    /// The answer of whoever leads; `None` when nobody answered as one.
    async fn ask(
        &self,
        question: impl Fn(&str) -> reqwest::RequestBuilder,
    ) -> Option<(u16, Value)> {
        for url in &self.urls {
            let Ok(ready) = self
                .client
                .get(format!("{url}/readyz"))
                .timeout(ASK_TIMEOUT)
                .send()
                .await
            else {
                continue;
            };
            if !ready.status().is_success() {
                continue;
            }
            let answer = question(url).timeout(ASK_TIMEOUT).send().await.ok()?;
            let status = answer.status().as_u16();
            let body = answer.bytes().await.ok()?;
            return Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)));
        }
        None
    }
}

fn word(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
