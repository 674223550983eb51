//! app → broker: reads the application's frames and lets them through, late or not at all where the core says so.
//!
//! Frames are forwarded as they came, in order; while one waits at the gate the later ones of its connection wait too.
//! When this ends, for whatever reason, frames that wait are dropped.

use std::{sync::Arc, time::Instant};

use bytes::{Buf, BytesMut};
use cutline_model::TopicPartition;
use cutline_protocol::{Admission, ProduceIntent, Ticket};
use cutline_wire::{
    api,
    batch::batches,
    fetch::{FetchAsk, TopicKey},
    frame::{Frame, FrameError, FrameReader, RequestHead},
    login::LoginError,
    produce::ProduceAsk,
    stream::StreamWriter,
};
use kafka_protocol::messages::ApiKey;
use thiserror::Error;
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::tcp::OwnedReadHalf,
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use super::{
    IDLE_AFTER,
    edit::Segments,
    fetch_answer::answer_error,
    fetch_session::Plan,
    renewal::Renewal,
    request::{Meaning, Sent, meaning},
    response::api_versions_refused,
    session::{Answer, Pending, ProduceGuard, Session},
};

/// Why an application's connection is closed.
#[derive(Debug, Error)]
pub enum AppEnd {
    /// The application closed it.
    #[error("closed by the application")]
    Closed,
    /// Its bytes cannot be followed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It asks for what the sidecar told it there is not.
    #[error("request {api_key} in version {version} is not offered")]
    NotOffered {
        /// Which API.
        api_key: i16,
        /// In which version.
        version: i16,
    },
    /// The broker takes no more.
    #[error("the broker's connection failed: {0}")]
    Broker(#[from] std::io::Error),
    /// The other direction has ended.
    #[error("the broker's side has ended")]
    Ended,
    /// The application is fenced.
    #[error("fenced")]
    Fenced,
    /// The sidecar ends: nothing more is taken from the application.
    #[error("the sidecar ends")]
    Draining,
    /// It authenticates although the sidecar does.
    #[error(
        "the application authenticates by itself, and --app-sasl is sidecar: take its credentials away, or set passthrough"
    )]
    TwoUsers,
    /// The sidecar's own authentication.
    #[error("CL0610 authenticating again: {0}")]
    Login(#[from] LoginError),
}

impl From<cutline_wire::reader::Malformed> for AppEnd {
    fn from(malformed: cutline_wire::reader::Malformed) -> Self {
        Self::Frame(malformed.into())
    }
}

/// One direction of a connection.
pub struct App {
    /// Shared with the other direction.
    pub session: Arc<Session>,
    /// The application.
    pub reader: FrameReader<OwnedReadHalf>,
    /// The broker.
    pub writer: StreamWriter,
    /// Answers owed.
    pub pending: mpsc::Sender<Pending>,
    /// Requests of ours: something harmless is to be asked, the sender told when it is answered.
    pub asks: mpsc::Receiver<oneshot::Sender<()>>,
    /// True while the application authenticates: the broker takes nothing else then.
    pub authenticates: bool,
    /// When the sidecar authenticates again in its place.
    pub renewal: Renewal,
    /// True while the application is fenced.
    pub fence: watch::Receiver<bool>,
    /// True once the sidecar ends.
    pub drain: watch::Receiver<bool>,
}

impl App {
    /// Forwards until something ends it.
    pub async fn run(&mut self) -> AppEnd {
        match self.forward().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn forward(&mut self) -> Result<std::convert::Infallible, AppEnd> {
        loop {
            tokio::select! {
                // The fence is looked at before every frame: once it has fallen nothing more is let through.
                biased;
                () = falls(&mut self.fence) => return Err(self.fenced().await),
                () = falls(&mut self.drain) => return Err(AppEnd::Draining),
                Some(asked) = self.asks.recv(), if !self.authenticates => self.ask(asked).await?,
                () = sleep(IDLE_AFTER), if self.reader.keeps_memory() => self.reader.shrink(),
                frame = self.reader.next() => {
                    let frame = frame?.ok_or(AppEnd::Closed)?;
                    self.frame(frame).await?;
                }
            }
        }
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), AppEnd> {
        let head = RequestHead::peek(&frame)?;
        if !api::is_acceptable(head.api_key, head.api_version) {
            return Err(AppEnd::NotOffered {
                api_key: head.api_key,
                version: head.api_version,
            });
        }
        self.authenticate(&head).await?;
        let decides = self.session.shared.decide.has_core();
        match ApiKey::try_from(head.api_key) {
            Ok(ApiKey::Fetch) if decides => self.fetch(frame, head).await,
            Ok(ApiKey::Fetch) => {
                self.send(&head, Answer::Fetch(None), frame.into_whole().into())
                    .await
            }
            Ok(ApiKey::Produce) => self.produce(frame, head).await,
            Ok(ApiKey::ApiVersions) if !self.reads(&head) => {
                let answer = api_versions_refused(head.correlation_id);
                self.queue(&head, Answer::Here(answer)).await
            }
            _ => {
                let meaning = meaning(&frame, &head, decides)?;
                self.notice(&meaning).await?;
                self.send(&head, Answer::Broker(meaning), frame.into_whole().into())
                    .await
            }
        }
    }

    // Sees to it that only the one or the other of us authenticates, and that what the application asks now is answered.
    async fn authenticate(&mut self, head: &RequestHead) -> Result<(), AppEnd> {
        let key = ApiKey::try_from(head.api_key);
        let handshake = matches!(key, Ok(ApiKey::SaslHandshake));
        self.authenticates =
            handshake || self.authenticates && matches!(key, Ok(ApiKey::SaslAuthenticate));
        if handshake && self.session.shared.upstreams.stands_in().is_some() {
            return Err(AppEnd::TwoUsers);
        }
        if self.renewal.is_due() {
            self.renew().await?;
        }
        Ok(())
    }

    fn reads(&self, head: &RequestHead) -> bool {
        api::readable(head.api_key)
            .is_some_and(|range| range.min <= head.api_version && head.api_version <= range.max)
    }

    // Tells the core what a request means by being sent, and waits where it may begin a transaction.
    async fn notice(&mut self, meaning: &Meaning) -> Result<(), AppEnd> {
        let session = self.session.clone();
        match meaning {
            Meaning::Begin {
                transactional_id, ..
            } => {
                self.admitted(|| session.shared.decide.admit_transaction(transactional_id))
                    .await?;
            }
            Meaning::Join { group, .. } => session.shared.decide.rebalance(group),
            _ => {}
        }
        Ok(())
    }

    async fn fetch(&mut self, frame: Frame, head: RequestHead) -> Result<(), AppEnd> {
        let mut ask = FetchAsk::read(&frame, head.api_version, head.rest_at)?;
        let shared = self.session.shared.clone();
        // The answer is held whole until the core has said what becomes of it.
        let share = i32::try_from(shared.fetched_share()).unwrap_or(i32::MAX);
        let frame = ask.lower(frame, share);
        let unnamed = self.session.fetches.lock().unnamed(&ask, &shared.topics);
        if !unnamed.is_empty() {
            shared.name_topics(&unnamed).await;
            // Those still without a name do not exist, as the broker will say.
            let _unknown = self.session.fetches.lock().unnamed(&ask, &shared.topics);
        }
        // Read before the core is asked: a release in between must not be slept through.
        let version = *shared.decide.holds().borrow();
        let (plan, expected) =
            self.session
                .fetches
                .lock()
                .plan(self.session.conn, &frame, &ask, &shared.decide);
        match plan {
            Plan::Send(bytes) => {
                self.send(&head, Answer::Fetch(Some(Box::new(expected))), bytes)
                    .await
            }
            Plan::Wait => {
                self.queue(&head, Answer::Held(Box::new(expected), version))
                    .await
            }
            Plan::Refuse(error) => {
                let answer = answer_error(head.api_version, head.correlation_id, error);
                self.queue(&head, Answer::Here(answer)).await
            }
        }
    }

    async fn produce(&mut self, frame: Frame, head: RequestHead) -> Result<(), AppEnd> {
        let ask = ProduceAsk::read(&frame, head.api_version, head.rest_at)?;
        let session = self.session.clone();
        let decide = &session.shared.decide;
        let mut ticket = None;
        let mut sent = Vec::new();
        if decide.has_core() {
            sent = self.named(&ask, &frame).await;
            let partitions: Vec<TopicPartition> =
                sent.iter().map(|sent| sent.partition.clone()).collect();
            let intent = ProduceIntent {
                conn: session.conn,
                transactional_id: ask.transactional_id.as_deref(),
                answered: ask.acks != 0,
                partitions: &partitions,
            };
            ticket = self.admitted(|| decide.admit_produce(&intent)).await?;
        }
        if ask.acks == 0 {
            let bytes = frame.into_whole();
            session
                .shared
                .metrics
                .to_broker_bytes
                .inc_by(bytes.len() as u64);
            self.writer.write_all(&bytes).await?;
            self.writer.flush().await?;
            return Ok(());
        }
        let guard = ProduceGuard::new(&self.session, ticket, sent);
        self.send(&head, Answer::Produce(guard), frame.into_whole().into())
            .await
    }

    // Where a Produce goes, by name, and how many offsets it will take there.
    async fn named(&self, ask: &ProduceAsk, frame: &Frame) -> Vec<Sent> {
        let shared = &self.session.shared;
        let unnamed: Vec<[u8; 16]> = ask
            .partitions
            .iter()
            .filter(|part| shared.topics.name(&part.topic).is_none())
            .filter_map(|part| match part.topic {
                TopicKey::Id(id) => Some(id),
                TopicKey::Name(_) => None,
            })
            .collect();
        if !unnamed.is_empty() {
            shared.name_topics(&unnamed).await;
        }
        let parts = ask.partitions.iter();
        parts
            .filter_map(|part| {
                let topic = shared.topics.name(&part.topic)?;
                let found = batches(&frame.whole()[part.records.clone()]);
                Some(Sent {
                    topic: part.topic.clone(),
                    partition: TopicPartition::new(topic, part.index),
                    span: found
                        .map(|batch| batch.offsets().end.0 - batch.offsets().start.0)
                        .sum(),
                })
            })
            .collect()
    }

    // Asks until it may pass. A connection that was closed meanwhile ends here and its frames with it.
    async fn admitted(&mut self, ask: impl Fn() -> Admission) -> Result<Option<Ticket>, AppEnd> {
        let mut gate = self.session.shared.decide.gate();
        let mut waited = false;
        loop {
            gate.mark_unchanged();
            if waited && self.is_closed().await {
                return Err(AppEnd::Closed);
            }
            if let Admission::Pass(ticket) = ask() {
                return Ok(ticket);
            }
            waited = true;
            tokio::select! {
                _ = gate.changed() => {}
                Some(asked) = self.asks.recv() => self.ask(asked).await?,
                () = self.pending.closed() => return Err(AppEnd::Ended),
                () = falls(&mut self.fence) => return Err(self.fenced().await),
                // Never sent, so not owed: the client sends it to whoever comes next.
                () = falls(&mut self.drain) => return Err(AppEnd::Draining),
            }
        }
    }

    async fn is_closed(&self) -> bool {
        let stream = self.reader.io();
        let readable = std::pin::pin!(stream.ready(Interest::READABLE));
        let looked = futures_util::future::select(readable, std::future::ready(())).await;
        matches!(looked, futures_util::future::Either::Left((Ok(ready), _)) if ready.is_read_closed())
    }

    async fn fenced(&self) -> AppEnd {
        // What was let through may still land: it counts as sent, so its answer is waited for.
        let limit = super::FENCE_DRAIN;
        let _late = tokio::time::timeout(limit, self.session.produces_answered()).await;
        AppEnd::Fenced
    }

    // A request of ours, which every broker answers at once.
    async fn ask(&mut self, asked: oneshot::Sender<()>) -> Result<(), AppEnd> {
        let mut frame = BytesMut::new();
        let key = ApiKey::ApiVersions as i16;
        frame.extend_from_slice(&10_i32.to_be_bytes());
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&0_i16.to_be_bytes());
        frame.extend_from_slice(&OUR_CORRELATION_ID.to_be_bytes());
        frame.extend_from_slice(&(-1_i16).to_be_bytes());
        let head = RequestHead {
            api_key: key,
            api_version: 0,
            correlation_id: OUR_CORRELATION_ID,
            client_id: None,
            rest_at: frame.len(),
        };
        self.send(&head, Answer::Ours(asked), frame.freeze().into())
            .await
    }

    pub(super) async fn send(
        &mut self,
        head: &RequestHead,
        answer: Answer,
        mut bytes: Segments,
    ) -> Result<(), AppEnd> {
        self.queue(head, answer).await?;
        let metrics = &self.session.shared.metrics;
        metrics.to_broker_bytes.inc_by(bytes.remaining() as u64);
        self.writer.write_all_buf(&mut bytes).await?;
        // TLS may keep the end of it.
        self.writer.flush().await?;
        Ok(())
    }

    async fn queue(&mut self, head: &RequestHead, answer: Answer) -> Result<(), AppEnd> {
        let pending = Pending {
            correlation_id: head.correlation_id,
            api_key: head.api_key,
            api_version: head.api_version,
            since: Instant::now(),
            answer,
        };
        self.pending.send(pending).await.map_err(|_| AppEnd::Ended)
    }
}

async fn falls(barrier: &mut watch::Receiver<bool>) {
    // The sender lives as long as the proxy.
    let _fallen = barrier.wait_for(|fallen| *fallen).await;
}

// Answers are matched by order; the number only helps to see a broken stream.
pub(super) const OUR_CORRELATION_ID: i32 = 0x0c07_11fe;
