//! The proxy: Kafka's wire protocol between an application and its brokers, transparent unless the core decides otherwise.
//!
//! Promises: every frame that is not read passes byte for byte and in order; record batches are never decompressed or
//! re-encoded; the application hears of no broker address but the sidecar's own; one application connection is one
//! upstream connection, and when either ends so does the other. It holds no rule of the protocol: [`decide`] asks.

pub mod advertise;
pub mod app;
pub mod broker;
pub mod connection;
pub mod decide;
pub mod edit;
pub mod fetch_answer;
pub mod fetch_list;
pub mod fetch_recent;
pub mod fetch_request;
pub mod fetch_session;
pub mod group;
pub mod landing;
pub mod metrics;
pub mod passage;
pub mod renewal;
pub mod request;
pub mod response;
pub mod session;
pub mod splice;
pub mod topics;
pub mod upstream;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cutline_model::{GroupId, MarkerId, TopicName};
use cutline_protocol::ConnId;
use cutline_wire::client::Client;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    sync::{OnceCell, Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
};

use advertise::{Brokers, Upstream};
pub use decide::Decide;
use group::Groups;
use metrics::Metrics;
use splice::Pipes;
use topics::{SharedTopics, Topics};
use upstream::Upstreams;

/// How long a fenced connection waits for the answers to its Produces before it is closed all the same.
pub const FENCE_DRAIN: Duration = Duration::from_secs(5);
/// How long the answers that are owed may take when the sidecar ends: a long poll and some more, and less than anybody who
/// ends it waits before killing it.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// A connection without traffic for so long gives its buffers back.
pub const IDLE_AFTER: Duration = Duration::from_secs(10);
/// How long a response waits until what it tells is written down.
pub const REGISTER_LIMIT: Duration = Duration::from_secs(10);
/// How long the answer to a harmless request of ours is waited for.
pub const PROVE_LIMIT: Duration = Duration::from_secs(10);
/// Connections of one application unless it is told otherwise; a client library has a few to each broker.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Bytes of Fetch responses that all connections hold together while the core is asked about them: each connection may ask the
/// broker for its share, and may be given a batch more than that.
pub const FETCHED_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The least share, whatever the number of connections.
pub const FETCHED_SHARE_BYTES_MIN: usize = 128 * 1024;

// How often it is said that connections are refused.
const REFUSED_EVERY: Duration = Duration::from_secs(10);
// The wait after a failed accept (usually: no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Writes down what has to be known before the application may go on. Each answers false when that did not work; the
/// response that waits for it is then not passed on.
pub trait Register: Send + Sync {
    /// The application is about to be given this producer id.
    fn producer<'a>(
        &'a self,
        transactional_id: Option<&'a str>,
        producer: MarkerId,
    ) -> BoxFuture<'a, bool>;

    /// The application is about to be a member of this group.
    fn group<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, bool>;
}

/// How a proxy is set up.
pub struct ProxyConfig {
    /// `host:port` of some brokers.
    pub kafka: Vec<String>,
    /// How they are reached.
    pub upstreams: Upstreams,
    /// Where the application finds the first broker; port 0 for any.
    pub listen: SocketAddr,
    /// Who decides.
    pub decide: Arc<Decide>,
    /// Who writes producer ids and groups down; nobody without a core.
    pub register: Option<Arc<dyn Register>>,
    /// What is counted.
    pub metrics: Metrics,
    /// True to refuse the application until [`Proxy::lift`].
    pub fenced: bool,
    /// How many connections the application may have.
    pub connections_max: usize,
}

type Asks = mpsc::Sender<oneshot::Sender<()>>;

/// What all connections share.
pub struct Shared {
    /// Who decides.
    pub decide: Arc<Decide>,
    /// Where brokers are and where they seem to be.
    pub brokers: Brokers,
    /// Names of topics.
    pub topics: SharedTopics,
    /// Members behind this sidecar.
    pub groups: Groups,
    /// What is counted.
    pub metrics: Metrics,
    /// What large responses pass through.
    pub pipes: Pipes,
    fence: watch::Sender<bool>,
    drain: watch::Sender<bool>,
    connections: Mutex<BTreeMap<ConnId, Asks>>,
    slots: Arc<Semaphore>,
    connections_max: usize,
    refused: Mutex<Option<Instant>>,
    count: watch::Sender<usize>,
    register: Option<Arc<dyn Register>>,
    kafka: Vec<String>,
    upstreams: Upstreams,
    client: OnceCell<Client>,
}

impl Shared {
    fn opened(&self, conn: ConnId, asks: Asks) {
        let mut connections = self.connections.lock();
        connections.insert(conn, asks);
        self.count.send_replace(connections.len());
        self.metrics.connections.set(connections.len() as i64);
    }

    fn closed(&self, conn: ConnId) {
        let mut connections = self.connections.lock();
        connections.remove(&conn);
        self.metrics.connections.set(connections.len() as i64);
        // The core hears of the last one under this lock, so that a new one cannot slip in between.
        self.decide.disconnected(conn, connections.is_empty());
        self.count.send_replace(connections.len());
    }

    /// How much one Fetch may bring while so many connections may hold what theirs brought.
    #[must_use]
    pub fn fetched_share(&self) -> usize {
        let connections = (*self.count.borrow()).max(1);
        (FETCHED_BYTES_MAX / connections).max(FETCHED_SHARE_BYTES_MIN)
    }

    fn refuse(&self) {
        self.metrics.refused.inc();
        let mut said = self.refused.lock();
        if said.is_none_or(|at| at.elapsed() >= REFUSED_EVERY) {
            *said = Some(Instant::now());
            tracing::warn!(
                limit = self.connections_max,
                "connections are refused: the application has as many as max-connections allows"
            );
        }
    }

    /// Asks the cluster for topics that no metadata response has named here.
    pub async fn name_topics(&self, ids: &[[u8; 16]]) {
        let client = self
            .client
            .get_or_try_init(|| Client::connect(&self.kafka, self.upstreams.client_options()));
        let client = match client.await {
            Ok(client) => client,
            Err(error) => {
                tracing::warn!(%error, "topics have no names");
                return;
            }
        };
        for id in ids {
            match client.topic_of_id(*id).await {
                Ok(Some(name)) => self.topics.learn(*id, &name),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "topic has no name"),
            }
        }
    }

    /// Has a producer id written down; false when that did not work in time.
    pub async fn register_producer(
        &self,
        transactional_id: Option<&str>,
        producer: MarkerId,
    ) -> bool {
        match &self.register {
            Some(register) => in_time(register.producer(transactional_id, producer)).await,
            None => true,
        }
    }

    /// Has a group written down; false when that did not work in time.
    pub async fn register_group(&self, group: &GroupId) -> bool {
        match &self.register {
            Some(register) => in_time(register.group(group)).await,
            None => true,
        }
    }
}

async fn in_time(registered: BoxFuture<'_, bool>) -> bool {
    tokio::time::timeout(REGISTER_LIMIT, registered)
        .await
        .unwrap_or(false)
}

/// A running proxy. Dropped, it stops listening and closes every connection.
pub struct Proxy {
    shared: Arc<Shared>,
    local: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens; connections are served from now on.
    pub fn start(config: ProxyConfig) -> io::Result<Self> {
        let listener = advertise::listen(config.listen)?;
        let local = listener.local_addr()?;
        let (opened, listeners) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            decide: config.decide,
            brokers: Brokers::new(config.kafka.clone(), local, opened),
            topics: SharedTopics::new(Topics::default()),
            groups: Groups::default(),
            metrics: config.metrics,
            pipes: Pipes::default(),
            fence: watch::Sender::new(config.fenced),
            drain: watch::Sender::new(false),
            connections: Mutex::default(),
            slots: Arc::new(Semaphore::new(config.connections_max)),
            connections_max: config.connections_max,
            refused: Mutex::default(),
            count: watch::Sender::new(0),
            register: config.register,
            kafka: config.kafka,
            upstreams: config.upstreams,
            client: OnceCell::new(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(listen_all(shared.clone(), listener, listeners));
        tasks.spawn(meet_brokers(shared.clone()));
        Ok(Self {
            shared,
            local,
            _tasks: tasks,
        })
    }

    /// Where the application finds the first broker.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Closes the application's connections once their Produces are answered, within [`FENCE_DRAIN`], and refuses new ones;
    /// returns when none is left.
    pub async fn fence(&self) {
        self.shared.fence.send_replace(true);
        let mut count = self.shared.count.subscribe();
        // The sender lives as long as the proxy, so this only ends with zero.
        let _none_left = count.wait_for(|count| *count == 0).await;
        // Who comes back is told to the core again, which forgets them now.
        self.shared.groups.clear();
    }

    /// Takes no connection and no request any more, delivers the answers that are owed, and closes each connection behind
    /// its last one. Answers how many connections are left after [`DRAIN_LIMIT`].
    pub async fn drain(&self) -> usize {
        self.shared.drain.send_replace(true);
        let mut count = self.shared.count.subscribe();
        let drained = count.wait_for(|count| *count == 0);
        match tokio::time::timeout(DRAIN_LIMIT, drained).await {
            Ok(_none_left) => 0,
            Err(_) => self.connections(),
        }
    }

    /// Lets the application connect again.
    pub fn lift(&self) {
        self.shared.fence.send_replace(false);
    }

    /// True while the application is fenced.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        *self.shared.fence.borrow()
    }

    /// How many connections the application has.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().len()
    }

    /// Asks something harmless on each connection and waits for the answers: what was sent before on it has then been
    /// read by the broker. Connections that end meanwhile are left out of the answer.
    pub async fn prove(&self, conns: &[ConnId]) -> Vec<ConnId> {
        let mut proved = Vec::new();
        for conn in conns {
            let asks = self.shared.connections.lock().get(conn).cloned();
            let Some(asks) = asks else { continue };
            let answered = tokio::time::timeout(PROVE_LIMIT, connection::proved(&asks));
            if answered.await.unwrap_or(false) {
                proved.push(*conn);
            }
        }
        proved
    }

    /// The members that live behind this sidecar.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.shared.groups
    }

    /// Names of topics seen so far, by id.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.shared.topics
    }

    /// Remembers the name of a topic.
    pub fn learn_topic(&self, id: [u8; 16], name: &TopicName) {
        self.shared.topics.learn(id, name);
    }
}

// Accepts on the first listener and on every broker's, and serves.
async fn listen_all(
    shared: Arc<Shared>,
    first: TcpListener,
    mut listeners: mpsc::UnboundedReceiver<(Upstream, TcpListener)>,
) {
    let mut tasks = JoinSet::new();
    let ids = Arc::new(AtomicU64::new(0));
    tasks.spawn(accept(
        shared.clone(),
        ids.clone(),
        first,
        Upstream::Bootstrap,
    ));
    while let Some((upstream, listener)) = listeners.recv().await {
        tasks.spawn(accept(shared.clone(), ids.clone(), listener, upstream));
    }
}

async fn accept(
    shared: Arc<Shared>,
    ids: Arc<AtomicU64>,
    listener: TcpListener,
    upstream: Upstream,
) {
    let mut serving = JoinSet::new();
    let mut drain = shared.drain.subscribe();
    loop {
        while serving.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            _ = drain.wait_for(|drains| *drains) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // Closed at once.
            Ok(_) if *shared.fence.borrow() => {}
            Ok((app, _)) => match shared.slots.clone().try_acquire_owned() {
                Ok(slot) => {
                    let conn = ConnId(ids.fetch_add(1, Ordering::Relaxed));
                    let served = connection::serve(shared.clone(), (conn, slot), app, upstream);
                    serving.spawn(served);
                }
                Err(_) => shared.refuse(),
            },
            Err(error) => {
                tracing::warn!(%error, "connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Whoever connects is refused from now on, as by a broker that is gone.
    drop(listener);
    while serving.join_next().await.is_some() {}
}

// Opens the brokers' local ports before anybody asks, so that applications that knew them find them after a restart. A
// cluster that wants authentication says nothing to a sidecar without credentials; its brokers are met when the application
// asks.
async fn meet_brokers(shared: Arc<Shared>) {
    let client = shared
        .client
        .get_or_try_init(|| Client::connect(&shared.kafka, shared.upstreams.client_options()));
    let metadata = match client.await {
        Ok(client) => client.metadata(),
        Err(error) => {
            tracing::debug!(%error, "brokers are not known yet");
            return;
        }
    };
    for (node, broker) in &metadata.brokers {
        if let Err(error) = shared
            .brokers
            .local(*node, &broker.host, i32::from(broker.port))
        {
            tracing::warn!(node, %error, "broker has no local port");
        }
    }
    for (name, topic) in &metadata.topics {
        shared.topics.learn(topic.id, name);
    }
}
