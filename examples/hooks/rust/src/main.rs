//! Counts the records of each key of a topic, in memory. What Cutline asks of it is the hook: the second half.
//!
//! BOOTSTRAP, TOPIC and GROUP say what to read, HOOK_PORT where the hook and the counts are, LEASE_SECONDS how long a pause lasts at most.
//! One instance: where there are several, keep what is counted by partition, or in a database they share.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    future::IntoFuture,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use rdkafka::{
    ClientConfig, ClientContext, Message,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance, StreamConsumer},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Mutex as AsyncMutex, Semaphore},
    task::JoinHandle,
};

type Counts = BTreeMap<String, i64>;

#[derive(Clone)]
struct Tally {
    counts: Arc<Mutex<Counts>>,
    positions: Arc<Mutex<Counts>>,
    /// One permit: the loop has it while it works on a record, the hook from pause to resume, or until its lease is over.
    work: Arc<Semaphore>,
    lease: Arc<AsyncMutex<Option<JoinHandle<()>>>>,
}

impl ClientContext for Tally {}

impl ConsumerContext for Tally {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        locked(&self.positions).clear();
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let tally = Tally {
        counts: Arc::default(),
        positions: Arc::default(),
        work: Arc::new(Semaphore::new(1)),
        lease: Arc::default(),
    };
    // Offsets are committed by the client when it likes: with a hook nothing hangs on that.
    let consumer: StreamConsumer<Tally> = ClientConfig::new()
        .set("bootstrap.servers", env::var("BOOTSTRAP")?)
        .set("group.id", env::var("GROUP")?)
        .set("auto.offset.reset", "earliest")
        .create_with_context(tally.clone())?;
    consumer.subscribe(&[&env::var("TOPIC")?])?;
    let listener = TcpListener::bind(format!("127.0.0.1:{}", env::var("HOOK_PORT")?)).await?;
    let hook = axum::serve(listener, hook(tally.clone())).into_future();
    tokio::select! { served = hook => Ok(served?), read = work(&consumer, &tally) => read }
}

async fn work(consumer: &StreamConsumer<Tally>, tally: &Tally) -> Result<(), Box<dyn Error>> {
    loop {
        let Ok(record) = consumer.recv().await else {
            continue; // the client library goes on by itself
        };
        let key = String::from_utf8_lossy(record.key().unwrap_or_default());
        let place = format!("{}-{}", record.topic(), record.partition());
        let _at_work = tally.work.acquire().await?;
        *locked(&tally.counts).entry(key.into_owned()).or_default() += 1;
        locked(&tally.positions).insert(place, record.offset() + 1);
    }
}

fn hook(tally: Tally) -> Router {
    Router::new()
        .route("/cutline/pause", post(pause))
        .route("/cutline/resume", post(resume))
        .route("/cutline/restore", post(restore))
        .route("/cutline/snapshot", get(counts))
        .route("/", get(counts)) // for whoever wants to see it
        .with_state(tally)
}

/// Waits for the record at work; from here on nothing moves, until the task that has the permit ends or is ended.
async fn pause(State(tally): State<Tally>) -> Result<Json<Value>, StatusCode> {
    end_lease(&tally).await;
    let permit = tally.work.clone().acquire_owned().await;
    let permit = permit.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let seconds = env::var("LEASE_SECONDS").ok();
    let seconds = seconds.and_then(|given| given.parse().ok()).unwrap_or(30);
    *tally.lease.lock().await = Some(tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        drop(permit);
    }));
    Ok(Json(json!({ "positions": *locked(&tally.positions) })))
}

async fn resume(State(tally): State<Tally>) -> Json<Value> {
    Json(json!({ "lease_held": end_lease(&tally).await }))
}

async fn end_lease(tally: &Tally) -> bool {
    let Some(lease) = tally.lease.lock().await.take() else {
        return false;
    };
    lease.abort();
    lease.await.is_err() // it did not come to its own end
}

/// Called while the application is cut off from Kafka.
async fn restore(State(tally): State<Tally>, snapshot: String) -> StatusCode {
    let line = |line: &str| {
        let (key, count) = line.rsplit_once(' ')?;
        Some((key.to_owned(), count.parse().ok()?))
    };
    let Some(counts) = snapshot.lines().map(line).collect() else {
        return StatusCode::BAD_REQUEST;
    };
    *locked(&tally.counts) = counts;
    locked(&tally.positions).clear();
    StatusCode::OK
}

async fn counts(State(tally): State<Tally>) -> String {
    let counts = locked(&tally.counts);
    counts
        .iter()
        .map(|(key, count)| format!("{key} {count}\n"))
        .collect()
}

fn locked(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}
