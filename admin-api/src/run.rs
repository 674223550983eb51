//! The life of an admin API: listen, reach Kafka and the store, be elected, lead, and end in order.
//!
//! What cannot be reached is tried again for as long as it takes; meanwhile probes and people are told what is waited for.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use cutline_control::{ControlOptions, ControlTopic};
use cutline_store::Repository;
use cutline_wire::client::{Client, ClientOptions};
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{broadcast, watch},
    task::JoinSet,
    time::Instant,
};

use crate::{
    access::{Guard, TokensError},
    app::{App, Parts},
    busy::Busy,
    config::Config,
    coordination::{Barriers, Running, eviction, owner, recovery, schedule::Schedule},
    events::Events,
    history::History,
    leader::{Candidate, Leadership},
    ready::Shell,
    registry::{LinkEvent, Registry},
    restore, routes,
    shared::Shared,
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
    #[error("cannot listen on {address}: {source}; give another with --listen")]
    Listen {
        /// The address.
        address: String,
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
    let address = config.listen.clone();
    let listening = TcpListener::bind(&address).await;
    let listener = listening.map_err(|source| RunError::Listen { address, source })?;
    if let Ok(local) = listener.local_addr() {
        check_guarded(&config, &guard, local)?;
        tracing::info!(listen = %local, deployment = config.deployment, tokens = !guard.is_open(), "listening");
    }
    let shell = Shell::default();
    let (ending, ended) = watch::channel(false);
    let life = tokio::spawn(live(config, shell.clone(), ended.clone(), stop.clone()));
    let mut served = ended;
    let keeping_up = tokio::spawn(guard.clone().keep_up());
    let routes = routes::router(shell, &guard).into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, routes).with_graceful_shutdown(async move {
        // An error is the end of the sender: the end as well.
        let _ = served.wait_for(|ended| *ended).await;
    });
    let server = tokio::spawn(server.into_future());
    // An error is the end of the sender: the end as well.
    let _ = stop.wait_for(|stop| *stop).await;
    tracing::info!("ending");
    keeping_up.abort();
    // The life ends first: an epoch in progress is recorded as failed while sidecars still listen.
    let _ = tokio::time::timeout(END_WAIT, life).await;
    ending.send_replace(true);
    match tokio::time::timeout(END_WAIT, server).await {
        Ok(Ok(Err(error))) => Err(RunError::Serve(error)),
        // Whoever still holds a connection after that is cut off.
        _ => Ok(()),
    }
}

/// Refuses to let everyone in from other machines unless told so in words.
fn check_guarded(config: &Config, guard: &Guard, local: SocketAddr) -> Result<(), RunError> {
    if !guard.is_open() || is_loopback(local.ip()) {
        return Ok(());
    }
    if !config.unauthenticated {
        return Err(RunError::Unguarded { address: local });
    }
    tracing::warn!(listen = %local, "no tokens: whoever reaches this address may do everything");
    Ok(())
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

async fn live(
    config: Config,
    shell: Shell,
    ending: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let starting = start(config, &shell, ending);
    let app = tokio::select! {
        app = starting => app,
        _ = stop.wait_for(|stop| *stop) => return,
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
}

/// Reaches everything that is needed, however long it takes.
async fn start(config: Config, shell: &Shell, ending: watch::Receiver<bool>) -> App {
    let kafka = eventually(shell, "Kafka", || {
        let options = ClientOptions {
            client_id: format!("cutline-admin.{}", config.deployment),
            security: config.security.clone(),
            ..ClientOptions::default()
        };
        let bootstrap = config.kafka.clone();
        async move { Client::connect(&bootstrap, options).await }
    })
    .await;
    let control = eventually(shell, "the control topic", || {
        let (options, kafka) = (control_options(&config), kafka.clone());
        async move { ControlTopic::open(&options, &kafka).await }
    })
    .await;
    let run = uuid::Uuid::new_v4().to_string();
    let cluster = kafka.metadata().cluster_id.clone().unwrap_or_default();
    let owner = owner(&config.deployment, &cluster, &run);
    let repository = eventually(shell, "the store", || {
        let (spec, owner) = (config.store.clone(), owner.clone());
        async move {
            let repository = Repository::open(spec.open().await?).await?;
            recovery::check_installation(&repository, &owner).await?;
            Ok::<_, recovery::OpenError>(repository)
        }
    })
    .await;
    let events = Events::new(&run);
    let shared = Shared::new(config.redis.as_ref(), &config.deployment, &cluster);
    let shared = shared.unwrap_or_else(|error| {
        tracing::error!(error, "redis cannot be used; going on in memory");
        Shared::default()
    });
    for event in shared.events().await {
        events.take_in(event);
    }
    App::new(Parts {
        events,
        shared,
        run,
        owner,
        repository,
        registry: Registry::default(),
        metrics: shell.metrics().clone(),
        leadership: Leadership::new(&config.deployment),
        busy: Busy::default(),
        running: Running::default(),
        history: History::default(),
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

async fn eventually<T, E, F, Fut>(shell: &Shell, what: &str, attempt: F) -> T
where
    E: std::fmt::Display,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    shell.set_waiting_for(format!("{what} is being reached"));
    let mut said = String::new();
    loop {
        let error = match attempt().await {
            Ok(value) => return value,
            Err(error) => error.to_string(),
        };
        shell.set_waiting_for(format!("{what} cannot be used ({error})"));
        if said != error {
            tracing::error!(what, error, "cannot be used; trying again");
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
            restore::resume(app).await
        };
        match recovered.await {
            Ok(()) => break,
            Err(problem) => tracing::error!(%problem, "cannot take over yet"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    app.schedule.recall(app).await;
    app.leadership.set(true);
    tracing::info!(deployment = app.config.deployment, "leading");
    app.events
        .publish("leader.elected", json!({ "run": app.run }));
    let mut tasks = JoinSet::new();
    tasks.spawn(eviction::watch(app.clone()));
    tasks.spawn(recovery::watch(app.clone()));
    tasks.spawn(app.schedule.clone().run(app.clone()));
    tasks
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
