//! One run of a sidecar, from registration to eviction: everything is put together here and taken apart again.
//!
//! The order is the promise: the control topic is read past our own registration, masks and fences are in force, and the
//! marker ids are ours, before the first byte of the application is forwarded. A run that is evicted ends, and a new one,
//! with a new incarnation, takes its place.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use cutline_breaker::Standing;
use cutline_client::link::{LINK_VERSION, Uplink};
use cutline_control::{ControlError, ControlOptions, ControlTopic, Record, Registered};
use cutline_model::{Capture, Guarantee, Incarnation, ProcessId, Scope, SidecarId, TopicName};
use cutline_protocol::{Process, ProcessConfig};
use cutline_security::Security;
use cutline_state::{Hook, Provider};
use cutline_store::Watch;
use cutline_tls::ClientTls;
use cutline_wire::{
    client::{Client, ClientError, ClientOptions},
    marker::MarkerError,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use url::Url;

use crate::{
    control::{Follower, Registrar, register},
    desk::Desk,
    epoch::{Breakers, Markers, Shell, ShellParts, StateKeeper, StatesError, Transactions},
    link::Link,
    proxy::{
        DRAIN_LIMIT, Decide, Proxy, ProxyConfig,
        metrics::Metrics,
        upstream::{AppSasl, Upstreams},
    },
};

/// Messages waiting for the link, or from it: an epoch has a handful under way.
const LINK_QUEUE_MAX: usize = 1_024;

/// What a sidecar is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which sidecar.
    pub sidecar: SidecarId,
    /// Which deployment.
    pub deployment: String,
    /// `host:port` of some brokers.
    pub kafka: Vec<String>,
    /// How brokers are reached.
    pub security: Security,
    /// Who the application is to brokers.
    pub app_sasl: AppSasl,
    /// Where the application connects.
    pub listen: SocketAddr,
    /// The base URLs of the admin APIs, of which one leads; none for a plain proxy.
    pub admins: Vec<Url>,
    /// What connections to those with `https://` are made with.
    pub admin_tls: Option<ClientTls>,
    /// Where the token to show them is.
    pub token_file: Option<PathBuf>,
    /// How work is known to be finished.
    pub capture: Capture,
    /// The hook's base URL, for [`Capture::Hook`].
    pub hook: Option<Arc<Hook>>,
    /// Whose state is one state.
    pub scope: Scope,
    /// The state.
    pub state: Arc<dyn Provider>,
    /// Where state goes; the admin API says so where this does not.
    pub store: Option<String>,
    /// Topics whose readers without a group can rebuild what they read.
    pub rebuildable: BTreeSet<TopicName>,
    /// How long fetches are forwarded without the control topic.
    pub stale_after: Duration,
    /// How many connections the application may have.
    pub connections_max: usize,
}

/// Why a run did not come up or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The control topic.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The cluster.
    #[error("Kafka: {0}")]
    Kafka(#[from] ClientError),
    /// The marker ids.
    #[error("the marker ids cannot be taken: {0}")]
    Markers(#[from] MarkerError),
    /// The state or the store.
    #[error(transparent)]
    States(#[from] StatesError),
    /// The local port.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was taken out of the view; a new one may begin.
    Evicted,
    /// It was told to stop.
    Stopped,
}

/// A plain transparent proxy: no admin API, no core.
///
/// # Errors
/// When it cannot listen.
pub async fn run_plain(
    settings: &Settings,
    metrics: Metrics,
    ready: &watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) -> Result<Ended, RunError> {
    let decide = Arc::new(Decide::without_core());
    let proxy = listen(settings, decide, None, metrics, false)?;
    ready.send_replace(true);
    let _stopped = stop.wait_for(|stop| *stop).await;
    ready.send_replace(false);
    drain(&proxy).await;
    Ok(Ended::Stopped)
}

/// One run of a sidecar with an admin API.
///
/// # Errors
/// When it cannot come up: nothing was forwarded then.
pub async fn run_once(
    settings: &Settings,
    metrics: Metrics,
    ready: &watch::Sender<bool>,
    stop: watch::Receiver<bool>,
) -> Result<Ended, RunError> {
    let run = Run::start(settings, metrics).await?;
    ready.send_replace(true);
    Ok(run.until_over(stop, ready).await)
}

/// Everything of one run. Dropping it ends the tasks and closes the connections.
struct Run {
    control: Arc<ControlTopic>,
    registered: Registered,
    follower: tokio::task::JoinHandle<()>,
    proxy: Arc<Proxy>,
    tasks: JoinSet<()>,
}

impl Run {
    async fn start(settings: &Settings, metrics: Metrics) -> Result<Self, RunError> {
        let incarnation = Incarnation::from(uuid::Uuid::new_v4().to_string());
        let breakers = Breakers::default();
        let states = Arc::new(StateKeeper::new(
            process_id(settings),
            Arc::clone(&settings.state),
            store_watch(metrics.clone()),
            breakers.store.clone(),
        ));
        states.probe().await?;
        if let Some(store) = &settings.store {
            states.open_store(store).await?;
        }
        let client_id = format!("cutline-{}", settings.sidecar);
        let options = ClientOptions {
            client_id: client_id.clone(),
            security: settings.security.clone(),
            ..ClientOptions::default()
        };
        let client = Client::connect(&settings.kafka, options).await?;
        let control =
            Arc::new(ControlTopic::open(&control_options(settings, client_id), &client).await?);
        let registered = Registered {
            sidecar: settings.sidecar.clone(),
            incarnation: incarnation.clone(),
            scope: settings.scope,
            has_state: states.has_state(),
            gone: false,
        };
        let state = register(&control, registered.clone()).await?;
        let markers = Arc::new(Markers::new(client.clone(), &marker_name(settings)));
        take_marker_ids(&markers).await?;

        let process = Process::new(process_config(settings, &incarnation, &states));
        let decide = Arc::new(Decide::with_core(process).measured(metrics.longest_hold.clone()));
        let registrar = Arc::new(Registrar::new(
            Arc::clone(&control),
            settings.sidecar.service.clone(),
        ));
        let proxy = Arc::new(listen(
            settings,
            Arc::clone(&decide),
            Some(registrar),
            metrics.clone(),
            true,
        )?);
        let (applied, applied_seen) = watch::channel(None);
        let follower = Follower {
            sidecar: settings.sidecar.clone(),
            incarnation: incarnation.clone(),
            control: Arc::clone(&control),
            core: Arc::clone(&decide),
            proxy: Arc::clone(&proxy),
            client: client.clone(),
            applied,
            fenced: watch::Sender::new(true),
            stale_after: settings.stale_after,
        };
        // The proxy came up fenced; this lifts it unless the topic says otherwise.
        follower.apply(&state, None).await;

        let (uplink, outbox) = mpsc::channel(LINK_QUEUE_MAX);
        let (events_tx, events) = mpsc::channel(LINK_QUEUE_MAX);
        let (messages_tx, messages) = mpsc::channel(LINK_QUEUE_MAX);
        let transactions = Transactions::new(
            client.clone(),
            Arc::clone(&control),
            settings.sidecar.service.clone(),
            Arc::clone(&decide),
        );
        let shell = Shell::new(ShellParts {
            core: Arc::clone(&decide),
            sidecar: settings.sidecar.clone(),
            client,
            control: Arc::clone(&control),
            proxy: Arc::clone(&proxy),
            states: Arc::clone(&states),
            hook: settings.hook.clone(),
            breakers: breakers.clone(),
            markers,
            transactions: Arc::new(transactions),
            uplink: uplink.clone(),
        });
        let link = Link {
            admins: settings.admins.clone(),
            tls: settings.admin_tls.clone(),
            token_file: settings.token_file.clone(),
            hello: hello(settings, &incarnation, &states, &proxy),
            outbox,
            applied: applied_seen,
            status: status(Arc::clone(&decide), Arc::clone(&proxy), metrics, breakers),
            events: events_tx,
        };
        let desk = Desk {
            core: decide,
            states,
            hook: settings.hook.clone(),
            uplink,
            messages: messages_tx,
            own_store: settings.store.is_some(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(shell.run(messages));
        tasks.spawn(link.run());
        tasks.spawn(desk.run(events));
        let follower = tokio::spawn(follower.run(state));
        Ok(Self {
            control,
            registered,
            follower,
            proxy,
            tasks,
        })
    }

    async fn until_over(
        mut self,
        mut stop: watch::Receiver<bool>,
        ready: &watch::Sender<bool>,
    ) -> Ended {
        let ended = tokio::select! {
            _ = &mut self.follower => Ended::Evicted,
            _ = stop.wait_for(|stop| *stop) => Ended::Stopped,
        };
        ready.send_replace(false);
        if ended == Ended::Stopped {
            // The core goes on meanwhile: what it holds it must be able to let go.
            drain(&self.proxy).await;
        }
        self.tasks.shutdown().await;
        self.follower.abort();
        if ended == Ended::Stopped {
            let gone = Registered {
                gone: true,
                ..self.registered
            };
            if let Err(error) = self.control.append(&Record::Sidecar(gone)).await {
                tracing::warn!(%error, "the end of this run is not in the control topic; it will be evicted");
            }
        }
        ended
    }
}

async fn drain(proxy: &Proxy) {
    match proxy.drain().await {
        0 => tracing::info!("every answer that was owed is delivered"),
        left => tracing::warn!(
            connections = left,
            limit = ?DRAIN_LIMIT,
            "closed with answers owed: they took longer than the sidecar may"
        ),
    }
}

fn listen(
    settings: &Settings,
    decide: Arc<Decide>,
    registrar: Option<Arc<Registrar>>,
    metrics: Metrics,
    fenced: bool,
) -> Result<Proxy, RunError> {
    let config = ProxyConfig {
        kafka: settings.kafka.clone(),
        upstreams: Upstreams::new(settings.security.clone(), settings.app_sasl),
        listen: settings.listen,
        decide,
        register: registrar.map(|registrar| registrar as Arc<_>),
        metrics,
        fenced,
        connections_max: settings.connections_max,
    };
    Proxy::start(config).map_err(|source| RunError::Listen {
        address: settings.listen,
        source,
    })
}

/// Every request to the store is counted, and shown in the trace of whoever makes it.
fn store_watch(metrics: Metrics) -> Watch {
    Arc::new(move |answered| {
        metrics.store(answered.verb.name(), answered.began.elapsed());
        let span = answered.verb.span_name();
        cutline_telemetry::request(span, answered.began, answered.bytes, answered.failed);
    })
}

fn process_id(settings: &Settings) -> ProcessId {
    let instance = (settings.scope == Scope::Instance).then(|| settings.sidecar.instance.clone());
    ProcessId {
        service: settings.sidecar.service.clone(),
        instance,
    }
}

fn process_config(
    settings: &Settings,
    incarnation: &Incarnation,
    states: &StateKeeper,
) -> ProcessConfig {
    let has_state = states.has_state();
    ProcessConfig {
        id: settings.sidecar.clone(),
        incarnation: incarnation.clone(),
        scope: settings.scope,
        capture: settings.capture,
        guarantee: if has_state {
            Guarantee::Consistent
        } else {
            Guarantee::PositionsOnly
        },
        has_state,
        rebuildable: settings.rebuildable.clone(),
    }
}

fn control_options(settings: &Settings, client_id: String) -> ControlOptions {
    ControlOptions {
        bootstrap: settings.kafka.join(","),
        deployment: settings.deployment.clone(),
        client_id,
        security: settings.security.clone(),
    }
}

fn marker_name(settings: &Settings) -> String {
    format!("__cutline.{}.{}", settings.deployment, settings.sidecar)
}

/// Takes the marker ids over from an earlier run: what that left open is aborted, which is no marker. A broker without
/// transactions has none to hand out; then only `synchronous` checkpoints work, and the coordinator says so.
async fn take_marker_ids(markers: &Markers) -> Result<(), RunError> {
    match markers.take_pairs().await {
        Ok(_) => Ok(()),
        Err(MarkerError::Client(ClientError::Unsupported { .. })) => {
            tracing::warn!(
                "the broker has no transactions: only synchronous checkpoints can be taken"
            );
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn hello(
    settings: &Settings,
    incarnation: &Incarnation,
    states: &StateKeeper,
    proxy: &Proxy,
) -> Uplink {
    Uplink::Hello {
        version: LINK_VERSION,
        deployment: settings.deployment.clone(),
        sidecar: settings.sidecar.clone(),
        incarnation: incarnation.clone(),
        scope: settings.scope,
        capture: settings.capture,
        providers: states.names(),
        listen: proxy.local().to_string(),
        program: Some(env!("CARGO_PKG_VERSION").to_owned()),
    }
}

fn status(
    core: Arc<Decide>,
    proxy: Arc<Proxy>,
    metrics: Metrics,
    breakers: Breakers,
) -> Box<dyn Fn() -> Uplink + Send + Sync> {
    Box::new(move || {
        metrics
            .held_partitions
            .set(i64::try_from(core.held()).unwrap_or(i64::MAX));
        metrics.fenced.set(i64::from(proxy.is_fenced()));
        for (of, standing) in breakers.standings() {
            metrics.breaker(of, standing != Standing::Closed);
        }
        let known = core.with(|process, now| {
            let reads = process.inputs().read_now(now).cloned().collect();
            (
                process.group_members(),
                reads,
                process.outputs().known_topics().iter().cloned().collect(),
            )
        });
        let (groups, reads, outputs) = known.unwrap_or_default();
        Uplink::Status {
            app_connections: u32::try_from(proxy.connections()).unwrap_or(u32::MAX),
            groups,
            reads,
            outputs,
            fenced: proxy.is_fenced(),
        }
    })
}
