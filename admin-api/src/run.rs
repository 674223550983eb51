//! The life of an admin API: listen, reach Kafka and the store, be elected, lead, and end in order.
//!
//! What cannot be reached is tried again for as long as it takes; meanwhile probes and people are told what is waited for. A
//! store that was caught letting two writers win is not tried again: it would pass for a good one some time.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use cutline_client::{CheckpointStatus, CheckpointView};
use cutline_control::{ControlOptions, ControlTopic};
use cutline_store::{Observed, Repository, SigningKeys, StoreBreakers, StoreError, Watch};
use cutline_tls::{ClientCertificates, ServerTls, TlsError};
use cutline_wire::client::{Client, ClientOptions};
use serde_json::json;
use tokio::{
    sync::{broadcast, watch},
    task::{JoinError, JoinSet},
    time::Instant,
};

use crate::{
    access::{Guard, TokensError},
    app::{App, Parts},
    busy::Busy,
    config::Config,
    coordination::{Barriers, Running, eviction, owner, recovery, schedule::Schedule},
    diagnosis::{Obstacle, Part, Surroundings},
    events::Events,
    expiry::{self, Expiry},
    history::History,
    inject::TemplateError,
    lag::Lags,
    leader::{Candidate, Leadership},
    metrics::Metrics,
    problem::Problem,
    ready::Shell,
    registry::{LinkEvent, Registry},
    restore, routes,
    serve::{check_guarded, listen, serve, serve_webhook},
    shared::Shared,
    tls::TlsListener,
};

/// The pause between two attempts at something that is out of reach.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long the end waits for the epoch in progress to be recorded as failed, and then for requests to be answered:
/// together less than the ten seconds that supervisors commonly give.
const END_WAIT: Duration = Duration::from_secs(4);
const END_LOOK: Duration = Duration::from_millis(20);

/// Why an admin API cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; give another with --{flag}")]
    Listen {
        /// The address.
        address: String,
        /// The flag that says it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Everyone would be let in from everywhere.
    #[error(
        "{address} is not loopback and there are no tokens, so whoever reaches it could put services back or delete checkpoints: \
         give --tokens, or --unauthenticated yes where the network keeps strangers out"
    )]
    Unguarded {
        /// The address.
        address: SocketAddr,
    },
    /// The list of tokens cannot be used.
    #[error("{0}")]
    Tokens(#[from] TokensError),
    /// The certificates cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// What is put into pods cannot be used.
    #[error("{0}")]
    Template(#[from] TemplateError),
    /// The signing keys, or the store, can never be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What runs beside the server broke.
    #[error("the admin API stopped working: {0}")]
    Broken(#[from] JoinError),
    /// The server broke.
    #[error("the server ended: {0}")]
    Serve(io::Error),
}

/// Runs until `stop` becomes true, and then until all is in order.
///
/// # Errors
/// When the address cannot be listened on. Whatever is out of reach later is tried again.
pub async fn run(config: Config, mut stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let guard = Guard::over(config.tokens.clone())?;
    let tls = config.tls.clone().map(ServerTls::load).transpose()?;
    let signing = signing(&config)?;
    let listener = listen(&config.listen, "listen").await?;
    if let Ok(local) = listener.local_addr() {
        check_guarded(&config, &guard, local)?;
        tracing::info!(listen = %local, deployment = config.deployment, tokens = !guard.is_open(), tls = tls.is_some(), "listening");
    }
    let shell = Shell::default();
    let asks = (config.tls.as_ref()).is_some_and(|tls| tls.clients != ClientCertificates::NotAsked);
    let (ending, ended) = watch::channel(false);
    serve_webhook(&config, ended.clone()).await?;
    let life = live(config, signing, shell.clone(), ended.clone(), stop.clone());
    let mut life = tokio::spawn(life);
    let keeping_up = tokio::spawn(guard.clone().keep_up());
    let routes = routes::router(shell, &guard);
    let server = match tls {
        None => tokio::spawn(serve(listener, routes, ended)),
        Some(tls) => {
            let listener = TlsListener::over(listener, tls, asks).map_err(RunError::Serve)?;
            tokio::spawn(serve(listener, routes, ended))
        }
    };
    // It ends by itself only when it cannot go on.
    let lived = tokio::select! {
        lived = &mut life => lived?,
        // An error is the end of the sender: the end as well.
        _ = stop.wait_for(|stop| *stop) => {
            tracing::info!("ending");
            // The life ends first: an epoch in progress is recorded as failed while sidecars still listen.
            let _ = tokio::time::timeout(END_WAIT, &mut life).await;
            Ok(())
        }
    };
    keeping_up.abort();
    ending.send_replace(true);
    lived?;
    match tokio::time::timeout(END_WAIT, server).await {
        Ok(Ok(Err(error))) => Err(RunError::Serve(error)),
        // Whoever still holds a connection after that is cut off.
        _ => Ok(()),
    }
}

/// The keys that checkpoints are signed with, if any are configured.
fn signing(config: &Config) -> Result<Option<SigningKeys>, StoreError> {
    let Some(path) = &config.signing_keys else {
        return Ok(None);
    };
    let keys = SigningKeys::read(path)?;
    let until = config.accept_unsigned_until;
    tracing::info!(
        ?keys,
        accept_unsigned_until = until.0,
        "checkpoints are signed"
    );
    Ok(Some(keys.accepting_unsigned_until(until)))
}

async fn live(
    config: Config,
    signing: Option<SigningKeys>,
    shell: Shell,
    ending: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), StoreError> {
    let starting = start(config, signing, &shell, ending);
    let app = tokio::select! {
        app = starting => app?,
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    shell.set_app(app.clone());
    let options = control_options(&app.config);
    let candidate = loop {
        match Candidate::join(&options) {
            Ok(candidate) => break candidate,
            Err(error) => tracing::error!(%error, "cannot take part in the election"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    };
    let told = tokio::spawn(tell_links(app.clone()));
    let sharing = tokio::spawn(app.shared.clone().run(app.clone()));
    let mut elected = candidate.elected();
    tokio::select! {
        () = lead_when_elected(&app, &mut elected) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    step_down(&app, "this admin API ends").await;
    told.abort();
    sharing.abort();
    candidate.leave().await;
    Ok(())
}

/// Reaches everything that is needed, however long it takes.
async fn start(
    config: Config,
    signing: Option<SigningKeys>,
    shell: &Shell,
    ending: watch::Receiver<bool>,
) -> Result<App, StoreError> {
    shell.set_surroundings(Surroundings {
        deployment: config.deployment.clone(),
        kafka: config.kafka.clone(),
        store: config.store.to_string(),
    });
    let kafka = eventually(shell, Part::Kafka, || {
        let options = ClientOptions {
            client_id: format!("cutline-admin.{}", config.deployment),
            security: config.security.clone(),
            ..ClientOptions::default()
        };
        let bootstrap = config.kafka.clone();
        async move { Client::connect(&bootstrap, options).await }
    })
    .await;
    let control = eventually(shell, Part::ControlTopic, || {
        let (options, kafka) = (control_options(&config), kafka.clone());
        async move { ControlTopic::open(&options, &kafka).await }
    })
    .await;
    let run = uuid::Uuid::new_v4().to_string();
    let cluster = kafka.metadata().cluster_id.clone().unwrap_or_default();
    let owner = owner(&config.deployment, &cluster, &run);
    let store_breakers = StoreBreakers::default();
    let repository = eventually(shell, Part::Store, || {
        let (spec, owner) = (config.store.clone(), owner.clone());
        let watch = store_watch(shell.metrics().clone());
        let breakers = store_breakers.clone();
        let signing = signing.clone();
        async move {
            let objects = breakers.over(Observed::over(spec.open().await?, watch));
            let mut repository = match Repository::open(objects).await {
                Err(error @ StoreError::NoConditionalCreate { .. }) => return Ok(Err(error)),
                opened => opened?,
            };
            if let Some(keys) = signing {
                repository = repository.signed_with(keys);
            }
            recovery::check_installation(&repository, &owner).await?;
            Ok::<_, recovery::OpenError>(Ok(repository))
        }
    })
    .await?;
    let events = Events::new(&run);
    let shared = Shared::new(config.redis.as_ref(), &config.deployment, &cluster);
    let shared = shared.unwrap_or_else(|error| {
        tracing::error!(error, "redis cannot be used; going on in memory");
        Shared::default()
    });
    for event in shared.events().await {
        events.take_in(event);
    }
    Ok(App::new(Parts {
        events,
        shared,
        run,
        owner,
        repository,
        store_breakers,
        registry: Registry::default(),
        metrics: shell.metrics().clone(),
        leadership: Leadership::new(&config.deployment),
        busy: Busy::default(),
        running: Running::default(),
        history: History::default(),
        lags: Lags::default(),
        expiry: Expiry::default(),
        retaining: tokio::sync::Mutex::default(),
        schedule: Schedule::new(&config.checkpoint),
        evictions: eviction::Evictions::default(),
        barriers: Barriers::new(kafka.clone(), &config.deployment),
        checkpoint_keys: std::sync::Arc::default(),
        restores: restore::Restores::default(),
        restore_keys: std::sync::Arc::default(),
        ending,
        kafka,
        control,
        config,
    }))
}

/// Every request to the store is counted, and shown in the trace of whoever makes it.
fn store_watch(metrics: Metrics) -> Watch {
    Arc::new(move |answered| {
        metrics.store(answered.verb.name(), answered.began.elapsed());
        let span = answered.verb.span_name();
        cutline_telemetry::request(span, answered.began, answered.bytes, answered.failed);
    })
}

fn control_options(config: &Config) -> ControlOptions {
    ControlOptions {
        bootstrap: config.kafka.join(","),
        deployment: config.deployment.clone(),
        client_id: format!("cutline-admin.{}", config.deployment),
        security: config.security.clone(),
    }
}

async fn eventually<T, E, F, Fut>(shell: &Shell, part: Part, attempt: F) -> T
where
    E: std::fmt::Display,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let waiting_for = |error| shell.set_waiting_for(Obstacle { part, error });
    waiting_for(None);
    let mut said = String::new();
    loop {
        let error = match attempt().await {
            Ok(value) => return value,
            Err(error) => error.to_string(),
        };
        waiting_for(Some(error.clone()));
        if said != error {
            tracing::error!(what = part.words(), error, "cannot be used; trying again");
            said = error;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Leads whenever elected.
async fn lead_when_elected(app: &App, elected: &mut watch::Receiver<bool>) {
    loop {
        if elected.wait_for(|elected| *elected).await.is_err() {
            return;
        }
        let tasks = tokio::select! {
            tasks = take_over(app) => tasks,
            _ = elected.wait_for(|elected| !*elected) => continue,
        };
        // An error is the end of the candidate: not elected any more.
        let _ = elected.wait_for(|elected| !*elected).await;
        drop(tasks);
        step_down(app, "another admin API leads now").await;
    }
}

/// What a new leader does before anyone may ask anything of it, and what goes on while it leads.
async fn take_over(app: &App) -> JoinSet<()> {
    loop {
        let recovered = async {
            recovery::sweep(app).await?;
            note_last_checkpoint(app).await?;
            restore::resume(app).await
        };
        match recovered.await {
            Ok(()) => break,
            Err(problem) => tracing::error!(%problem, "cannot take over yet"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    app.schedule.recall(app).await;
    app.registry.open();
    app.leadership.set(true);
    tracing::info!(deployment = app.config.deployment, "leading");
    app.events
        .publish("leader.elected", json!({ "run": app.run }));
    let mut tasks = JoinSet::new();
    tasks.spawn(eviction::watch(app.clone()));
    tasks.spawn(recovery::watch(app.clone()));
    tasks.spawn(expiry::watch(app.clone()));
    tasks.spawn(app.schedule.clone().run(app.clone()));
    tasks
}

/// The age of the last checkpoint does not begin anew with every leader.
async fn note_last_checkpoint(app: &App) -> Result<(), Problem> {
    let all = app.history.all(app).await?;
    let completed = |view: &&CheckpointView| view.status == CheckpointStatus::Completed;
    let last = all
        .iter()
        .find(completed)
        .and_then(|last| last.completed_at);
    if let Some(at) = last {
        app.metrics
            .checkpoint_known(at.as_millisecond() as f64 / 1_000.0);
    }
    Ok(())
}

/// Ends what is in progress and lets go of every sidecar, which then finds the next leader.
async fn step_down(app: &App, reason: &str) {
    app.leadership.set(false);
    app.running.abort(None, reason);
    let deadline = Instant::now() + END_WAIT / 2;
    while app.running.current().is_some() && Instant::now() < deadline {
        tokio::time::sleep(END_LOOK).await;
    }
    app.registry.cut_all(reason);
    tracing::info!(reason, "not leading");
}

/// Tells listeners which sidecars come and go.
async fn tell_links(app: App) {
    let mut links = app.registry.listen();
    loop {
        let event = match links.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        match event {
            LinkEvent::Connected {
                sidecar,
                incarnation,
            } => {
                tracing::info!(service = %sidecar.service, instance = %sidecar.instance, %incarnation, "sidecar connected");
                let data = json!({ "service": sidecar.service, "instance": sidecar.instance, "incarnation": incarnation });
                app.events.publish("sidecar.connected", data);
            }
            LinkEvent::Lost {
                sidecar,
                incarnation,
                reason,
            } => {
                tracing::warn!(service = %sidecar.service, instance = %sidecar.instance, %incarnation, reason, "sidecar lost");
                let data = json!({ "service": sidecar.service, "instance": sidecar.instance, "incarnation": incarnation, "reason": reason });
                app.events.publish("sidecar.lost", data);
            }
            LinkEvent::Epoch { .. } => {}
        }
    }
}
