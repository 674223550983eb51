//! broker → app: reads the broker's frames, in the order they are owed, and passes them on.
//!
//! What changes on the way is addresses and versions, and of fetched batches what the core masks or keeps back. Everything
//! else is the broker's bytes.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use cutline_model::{GroupId, MarkerId};
use cutline_wire::{
    fetch::FetchAnswer,
    frame::{Frame, FrameError, FrameReader, correlation_id},
    stream::StreamReader,
};
use kafka_protocol::{
    ResponseError as KafkaError,
    error::ParseResponseErrorCode,
    messages::{EndTxnResponse, InitProducerIdResponse},
};
use thiserror::Error;
use tokio::{io::AsyncWriteExt, net::tcp::OwnedWriteHalf, sync::mpsc, time::timeout};

use super::{
    IDLE_AFTER,
    edit::Segments,
    fetch_answer::{Context, answer, answer_held},
    fetch_session::Expected,
    landing::produced,
    request::Meaning,
    response::{ResponseError, Rewriter, api_versions, decode},
    session::{Answer, Pending, ProduceGuard, Session},
};

/// Why the broker's side of a connection ended.
#[derive(Debug, Error)]
pub enum BrokerEnd {
    /// The broker closed it.
    #[error("closed by the broker")]
    Closed,
    /// The application's side has ended and nothing is owed any more.
    #[error("the application's side has ended")]
    Ended,
    /// The broker's bytes cannot be followed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// An answer cannot be passed on.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// The broker answered something nobody asked.
    #[error("an answer out of turn")]
    OutOfTurn,
    /// The application takes no more.
    #[error("the application's connection failed: {0}")]
    App(std::io::Error),
    /// A producer id or a group could not be written down, so the application must not go on with it.
    #[error("a producer id or a group could not be registered")]
    Unregistered,
}

/// One direction of a connection.
pub struct Broker {
    /// Shared with the other direction.
    pub session: Arc<Session>,
    /// The broker.
    pub reader: FrameReader<StreamReader>,
    /// The application; absent once it has gone.
    pub writer: Option<OwnedWriteHalf>,
    /// Answers owed.
    pub pending: mpsc::Receiver<Pending>,
    pub(super) early: Option<Frame>,
}

impl Broker {
    /// The direction before its first frame.
    #[must_use]
    pub fn new(
        session: Arc<Session>,
        reader: FrameReader<StreamReader>,
        writer: OwnedWriteHalf,
        pending: mpsc::Receiver<Pending>,
    ) -> Self {
        Self {
            session,
            reader,
            writer: Some(writer),
            pending,
            early: None,
        }
    }

    /// Passes answers on until something ends it; when the application's side has ended, until nothing is owed any more.
    pub async fn run(&mut self) -> BrokerEnd {
        match self.forward().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    /// Takes what the broker still answers, for nobody: what was sent before the application went is then known to have
    /// arrived, and closing does not throw it away.
    pub async fn linger(&mut self) {
        self.writer = None;
        if let BrokerEnd::Ended = self.run().await {
            // The broker closes when it has seen all and our half is shut.
            while let Ok(Some(_frame)) = self.reader.next().await {}
        }
    }

    async fn forward(&mut self) -> Result<std::convert::Infallible, BrokerEnd> {
        loop {
            let pending = self.next_pending().await?;
            if self.cuts_through(&pending).await? {
                self.pass(&pending).await?;
                continue;
            }
            let (api_key, since) = (pending.api_key, pending.since);
            let Some(mut answer) = self.answer(pending).await? else {
                continue;
            };
            let metrics = &self.session.shared.metrics;
            metrics.to_app_bytes.inc_by(answer.remaining() as u64);
            metrics.answered(api_key, since.elapsed());
            if let Some(writer) = &mut self.writer {
                writer
                    .write_all_buf(&mut answer)
                    .await
                    .map_err(BrokerEnd::App)?;
            }
        }
    }

    async fn next_pending(&mut self) -> Result<Pending, BrokerEnd> {
        if let Ok(pending) = self.pending.try_recv() {
            return Ok(pending);
        }
        loop {
            let waited = timeout(IDLE_AFTER, async {
                tokio::select! {
                    biased;
                    pending = self.pending.recv() => Ok(pending),
                    // Nothing is owed: only the end can come, or an answer to what is being queued just now.
                    frame = self.reader.next(), if self.early.is_none() => Err(frame),
                }
            });
            match waited.await {
                Ok(Ok(Some(pending))) => return Ok(pending),
                Ok(Ok(None)) => return Err(BrokerEnd::Ended),
                Ok(Err(frame)) => self.early = Some(frame?.ok_or(BrokerEnd::Closed)?),
                Err(_idle) => self.reader.shrink(),
            }
        }
    }

    async fn frame(&mut self, owed: i32) -> Result<Frame, BrokerEnd> {
        let frame = match self.early.take() {
            Some(frame) => frame,
            None => self.reader.next().await?.ok_or(BrokerEnd::Closed)?,
        };
        let id = correlation_id(&frame).map_err(FrameError::from)?;
        if id == owed {
            Ok(frame)
        } else {
            Err(BrokerEnd::OutOfTurn)
        }
    }

    // What goes to the application for `pending`; nothing for a request of ours.
    async fn answer(&mut self, pending: Pending) -> Result<Option<Segments>, BrokerEnd> {
        let (version, id) = (pending.api_version, pending.correlation_id);
        let answer = match pending.answer {
            Answer::Here(bytes) => bytes.into(),
            Answer::Held(expected, holds) => {
                self.wait_for_release(&expected, holds).await;
                answer_held(version, id, &expected).into()
            }
            Answer::Ours(asked) => {
                self.frame(id).await?;
                // Whoever asked may have stopped waiting.
                let _gone = asked.send(());
                return Ok(None);
            }
            Answer::Login(asked) => {
                // The direction that asked is gone when nobody takes it.
                let _gone = asked.send(self.frame(id).await?);
                return Ok(None);
            }
            Answer::Broker(meaning) => {
                let frame = self.frame(id).await?;
                self.broker(frame, version, &meaning).await?.into()
            }
            Answer::Fetch(expected) => {
                let frame = self.frame(id).await?;
                self.fetch(&frame, version, expected.as_deref())?
            }
            Answer::Produce(guard) => {
                let frame = self.frame(id).await?;
                self.produce(frame, version, guard)?.into()
            }
        };
        Ok(Some(answer))
    }

    fn rewriter(&self) -> Rewriter<'_> {
        Rewriter {
            brokers: &self.session.shared.brokers,
            host: &self.session.host,
            topics: &self.session.shared.topics,
        }
    }

    async fn broker(
        &self,
        frame: Frame,
        version: i16,
        meaning: &Meaning,
    ) -> Result<Bytes, BrokerEnd> {
        let shared = &self.session.shared;
        let (decide, groups) = (&shared.decide, &shared.groups);
        match meaning {
            Meaning::Opaque => {}
            Meaning::ApiVersions => return Ok(api_versions(&frame, version)?),
            Meaning::Metadata => return Ok(self.rewriter().metadata(&frame, version)?),
            Meaning::FindCoordinator => {
                return Ok(self.rewriter().find_coordinator(&frame, version)?);
            }
            Meaning::DescribeCluster => {
                return Ok(self.rewriter().describe_cluster(&frame, version)?);
            }
            Meaning::Commit | Meaning::Begin { commits: true, .. } => decide.commit_seen(),
            Meaning::Begin { commits: false, .. } => {}
            Meaning::InitProducerId { transactional_id } => {
                self.producer_given(&frame, version, transactional_id.as_deref())
                    .await?;
            }
            Meaning::EndTxn { transactional_id } => {
                self.transaction_ended(&frame, version, transactional_id)
                    .await?;
            }
            Meaning::Join { group, member } => {
                if groups.joined(decide, (group, member), &frame, version)? {
                    self.register_group(group).await?;
                }
            }
            Meaning::Alive {
                group,
                member,
                sync,
            } => {
                groups.alive(decide, (group, member), *sync, &frame, version)?;
            }
            Meaning::Leave { group, members } => {
                groups.left(decide, (group, members), &frame, version)?
            }
            Meaning::ConsumerHeartbeat {
                group,
                member,
                epoch,
            } => {
                if groups.consumer_heartbeat(decide, (group, member), *epoch, &frame, version)? {
                    self.register_group(group).await?;
                }
            }
        }
        Ok(frame.into_whole())
    }

    async fn producer_given(
        &self,
        frame: &Frame,
        version: i16,
        transactional_id: Option<&str>,
    ) -> Result<(), BrokerEnd> {
        let (_, response) = decode::<InitProducerIdResponse>(frame, version)?;
        if response.error_code != 0 {
            return Ok(());
        }
        self.register(
            transactional_id,
            response.producer_id.0,
            response.producer_epoch,
        )
        .await?;
        if let Some(id) = transactional_id {
            self.session.shared.decide.transaction_ended(id);
        }
        Ok(())
    }

    async fn transaction_ended(
        &self,
        frame: &Frame,
        version: i16,
        transactional_id: &str,
    ) -> Result<(), BrokerEnd> {
        let (_, response) = decode::<EndTxnResponse>(frame, version)?;
        let over = match response.error_code.err() {
            None => true,
            Some(error) => matches!(
                error,
                KafkaError::ProducerFenced
                    | KafkaError::InvalidProducerEpoch
                    | KafkaError::InvalidProducerIdMapping
                    | KafkaError::TransactionalIdNotFound
            ),
        };
        if response.error_code == 0 && version >= 5 && response.producer_id.0 >= 0 {
            self.register(
                Some(transactional_id),
                response.producer_id.0,
                response.producer_epoch,
            )
            .await?;
        }
        if over {
            let decide = &self.session.shared.decide;
            decide.transaction_ended(transactional_id);
            // Offsets that the transaction carried are committed now.
            decide.commit_seen();
        }
        Ok(())
    }

    // A producer id is written down before the application may use it.
    async fn register(
        &self,
        transactional_id: Option<&str>,
        producer_id: i64,
        producer_epoch: i16,
    ) -> Result<(), BrokerEnd> {
        let producer = MarkerId {
            producer_id,
            producer_epoch,
        };
        let registered = self
            .session
            .shared
            .register_producer(transactional_id, producer)
            .await;
        if registered {
            Ok(())
        } else {
            Err(BrokerEnd::Unregistered)
        }
    }

    async fn register_group(&self, group: &GroupId) -> Result<(), BrokerEnd> {
        let registered = self.session.shared.register_group(group).await;
        if registered {
            Ok(())
        } else {
            Err(BrokerEnd::Unregistered)
        }
    }

    fn fetch(
        &self,
        frame: &Frame,
        version: i16,
        expected: Option<&Expected>,
    ) -> Result<Segments, BrokerEnd> {
        let shared = &self.session.shared;
        let read = FetchAnswer::read(frame, version).map_err(FrameError::from)?;
        let context = Context {
            conn: self.session.conn,
            decide: &shared.decide,
            topics: &shared.topics,
            metrics: &shared.metrics,
        };
        let mut session = self.session.fetches.lock();
        let mut answer =
            answer(&context, &mut session, frame, &read, expected).map_err(FrameError::from)?;
        if read.has_endpoints {
            let whole = answer.copy_to_bytes(answer.remaining());
            return Ok(self.rewriter().fetch(whole, version)?.into());
        }
        Ok(answer)
    }

    fn produce(
        &self,
        frame: Frame,
        version: i16,
        mut guard: ProduceGuard,
    ) -> Result<Bytes, BrokerEnd> {
        let decide = &self.session.shared.decide;
        let (rewritten, response) = self.rewriter().produce(&frame, version)?;
        if let Some(ticket) = guard.take_ticket() {
            let answers: Vec<_> = guard
                .sent
                .iter()
                .map(|sent| (sent.partition.clone(), produced(sent, &response)))
                .collect();
            decide.produce_answered(ticket, &answers);
        }
        Ok(rewritten.unwrap_or_else(|| frame.into_whole()))
    }

    async fn wait_for_release(&self, expected: &Expected, version: u64) {
        let mut holds = self.session.shared.decide.holds();
        let released = holds.wait_for(|now| *now != version);
        // Either way the application asks again.
        let _in_time = timeout(expected.wait, released).await;
    }
}
