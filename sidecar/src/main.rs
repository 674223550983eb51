//! The `cutline-sidecar` program: reads its configuration, starts its parts, runs until it is told to stop.

use std::{process::ExitCode, sync::Arc};

use cutline_sidecar::{
    config::{Config, PROGRAM},
    http::{self, Status},
    proxy::metrics::Metrics,
    run::{self, Ended},
    setup,
};
use cutline_telemetry::{Identity, Telemetry};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

fn main() -> ExitCode {
    let config = match PROGRAM.load().and_then(|settings| Config::of(&settings)) {
        Ok(config) => config,
        Err(error) => return PROGRAM.refuse(error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return PROGRAM.cannot_start(&error),
    };
    let entered = runtime.enter();
    let telemetry = Telemetry::start(&identity(&config), config.otlp_endpoint.as_ref());
    drop(entered);
    let ran = runtime.block_on(run(config));
    telemetry.stop();
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the sidecar ends");
            ExitCode::FAILURE
        }
    }
}

fn identity(config: &Config) -> Identity {
    Identity {
        program: PROGRAM.name,
        version: PROGRAM.version,
        service: config.service.to_string(),
        instance: config.instance.to_string(),
        tenant: config.deployment.clone(),
    }
}

async fn run(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (ready, is_ready) = watch::channel(false);
    if let Some(at) = config.metrics {
        let status = Status {
            registry: Mutex::new(registry),
            ready: is_ready,
        };
        let at = http::serve(at, Arc::new(status)).await?;
        tracing::info!(%at, "metrics are served");
    }
    let settings = setup::settings(config)?;
    let stop = stop_signal()?;
    if settings.admins.is_empty() {
        tracing::info!(listen = %settings.listen, "a plain proxy: no --admin was given");
        run::run_plain(&settings, metrics, &ready, stop).await?;
        return Ok(());
    }
    loop {
        let ended = run::run_once(&settings, metrics.clone(), &ready, stop.clone()).await?;
        if ended == Ended::Stopped {
            return Ok(());
        }
    }
}

/// Becomes true when the process is asked to stop.
fn stop_signal() -> std::io::Result<watch::Receiver<bool>> {
    let (mut asked, mut interrupted) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = asked.recv() => {}
            _ = interrupted.recv() => {}
        }
        tracing::info!("asked to stop");
        stop.send_replace(true);
    });
    Ok(stopped)
}
