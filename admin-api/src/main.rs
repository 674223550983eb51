//! The program `cutline-admin`: settings, logs, signals. Everything else is the library's.

use std::process::ExitCode;

use cutline_admin::{config::Config, run::run, settings::PROGRAM};
use cutline_telemetry::{Identity, Telemetry};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

fn main() -> ExitCode {
    let config = match PROGRAM.load().and_then(|settings| Config::of(&settings)) {
        Ok(config) => config,
        Err(error) => return PROGRAM.refuse(error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return PROGRAM.cannot_start(&error),
    };
    let entered = runtime.enter();
    let telemetry = Telemetry::start(&identity(&config), config.otlp_endpoint.as_ref());
    drop(entered);
    let served = runtime.block_on(serve(config));
    telemetry.stop();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the admin API ends");
            ExitCode::FAILURE
        }
    }
}

fn identity(config: &Config) -> Identity {
    Identity {
        program: PROGRAM.name,
        version: PROGRAM.version,
        service: PROGRAM.name.to_owned(),
        // Where it listens tells admin APIs of one deployment apart.
        instance: config.listen.clone(),
        tenant: config.deployment.clone(),
    }
}

async fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
    });
    run(config, stopped).await?;
    Ok(())
}
