//! Bank B's hook by itself: what a sidecar with `--capture hook=URL` may rely on.

use std::time::Duration;

use integration_tests::{
    Kafka,
    bank::{Bank, BankOptions},
    http,
    topics::unique_name,
    wait_until,
};
use serde_json::Value;

const WORK_DEADLINE: Duration = Duration::from_secs(60);
/// Longer than a batch and the writing of its state.
const STILL: Duration = Duration::from_millis(500);
const ORDERS_PER_SECOND: u64 = 500;

struct Hooked {
    bank: Bank,
    url: String,
    client: reqwest::Client,
}

impl Hooked {
    /// Banks under load, bank B with a hook whose lease is `lease_seconds`.
    async fn start(lease_seconds: u32) -> Self {
        let kafka = Kafka::shared().await;
        let prefix = unique_name("hook") + "-";
        let options = BankOptions {
            prefix,
            hook: true,
            lease_seconds,
            ..BankOptions::default()
        };
        let mut bank = Bank::start(&kafka.bootstrap(), options).await;
        bank.start_load(ORDERS_PER_SECOND, WORK_DEADLINE * 2);
        let url = bank
            .instances
            .iter()
            .find_map(|instance| instance.hook.clone());
        let hooked = Self {
            bank,
            url: url.unwrap(),
            client: http::client(),
        };
        wait_until(WORK_DEADLINE, "bank B to work", || async {
            hooked.records() > 0
        })
        .await;
        hooked
    }

    async fn post(&self, verb: &str, body: Vec<u8>) -> (u16, Value) {
        let url = format!("{}/cutline/{verb}", self.url);
        let answer = self.client.post(url).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn snapshot(&self) -> (u16, Vec<u8>) {
        let url = format!("{}/cutline/snapshot", self.url);
        let answer = self.client.get(url).send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.bytes().await.unwrap().to_vec(),
        )
    }

    /// How many records bank B has applied, by its files.
    fn records(&self) -> u64 {
        let Ok(files) = std::fs::read_dir(self.bank.home().directory("b")) else {
            return 0;
        };
        let json = files
            .flatten()
            .filter(|file| file.path().extension().is_some_and(|end| end == "json"));
        let shards = json.map(|file| {
            serde_json::from_slice::<Value>(&std::fs::read(file.path()).unwrap()).unwrap()
        });
        shards.filter_map(|shard| shard["records"].as_u64()).sum()
    }

    async fn works_on(&self) {
        let before = self.records();
        wait_until(WORK_DEADLINE, "bank B to go on", || async {
            self.records() > before
        })
        .await;
    }
}

#[tokio::test]
async fn a_paused_bank_stands_still_until_it_is_resumed() {
    let hooked = Hooked::start(30).await;
    assert_eq!(
        hooked.snapshot().await.0,
        409,
        "a state that moves is no snapshot"
    );
    let (status, paused) = hooked.post("pause", Vec::new()).await;
    assert_eq!(status, 200);
    let positions = paused["positions"].as_object().unwrap();
    let consumed: u64 = positions
        .values()
        .map(|offset| offset.as_u64().unwrap())
        .sum();
    assert_eq!(
        consumed,
        hooked.records(),
        "every position is one past what was applied, and no marker is in between"
    );
    let (status, snapshot) = hooked.snapshot().await;
    assert_eq!(status, 200);
    tokio::time::sleep(STILL).await;
    assert_eq!(hooked.snapshot().await.1, snapshot, "the state stood still");
    assert_eq!(
        hooked.post("resume", Vec::new()).await,
        (200, serde_json::json!({"lease_held": true}))
    );
    hooked.works_on().await;
}

#[tokio::test]
async fn a_pause_nobody_ends_ends_by_itself_and_says_so() {
    let hooked = Hooked::start(1).await;
    assert_eq!(hooked.post("pause", Vec::new()).await.0, 200);
    hooked.works_on().await;
    assert_eq!(
        hooked.post("resume", Vec::new()).await,
        (200, serde_json::json!({"lease_held": false}))
    );
}

#[tokio::test]
async fn a_restored_snapshot_is_the_state_again() {
    let hooked = Hooked::start(30).await;
    hooked.post("pause", Vec::new()).await;
    let (_, snapshot) = hooked.snapshot().await;
    hooked.post("resume", Vec::new()).await;
    hooked.works_on().await;
    hooked.post("pause", Vec::new()).await;
    assert_ne!(hooked.snapshot().await.1, snapshot);
    assert_eq!(hooked.post("restore", snapshot.clone()).await.0, 200);
    assert_eq!(hooked.snapshot().await.1, snapshot);
    assert_eq!(hooked.post("restore", b"no snapshot".to_vec()).await.0, 400);
    assert_eq!(
        hooked.snapshot().await.1,
        snapshot,
        "what is refused changes nothing"
    );
}
