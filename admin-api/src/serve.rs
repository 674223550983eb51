//! Listening and answering: the REST interface and the webhook, over TCP or TLS, until the end.
//!
//! It refuses addresses that strangers reach while everyone may do everything. What is answered is the routes' business.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
};

use axum::{
    Router,
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use cutline_tls::{ClientCertificates, ServerSpec, ServerTls};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    access::Guard,
    config::Config,
    inject::{self, Template},
    peer::Peer,
    run::RunError,
    tls::TlsListener,
};

/// Listens on `address`, which `flag` gave.
pub(crate) async fn listen(address: &str, flag: &'static str) -> Result<TcpListener, RunError> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|source| RunError::Listen {
        address: address.to_owned(),
        flag,
        source,
    })
}

/// Answers Kubernetes' API server until the end, where that is wanted; it shows no certificate.
pub(crate) async fn serve_webhook(
    config: &Config,
    ended: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let (Some(inject), Some(tls)) = (&config.inject, config.tls.clone()) else {
        return Ok(());
    };
    let template = Template::read(&inject.template)?;
    let clients = ClientCertificates::NotAsked;
    let tls = ServerTls::load(ServerSpec { clients, ..tls })?;
    let listener = listen(&inject.listen, "inject-listen").await?;
    let listener = TlsListener::over(listener, tls, false).map_err(RunError::Serve)?;
    tracing::info!(listen = inject.listen, "putting sidecars into pods");
    tokio::spawn(serve(listener, inject::router(template), ended));
    Ok(())
}

/// Answers what `listener` accepts until the end.
pub(crate) async fn serve<L>(
    listener: L,
    routes: Router,
    mut ended: watch::Receiver<bool>,
) -> io::Result<()>
where
    L: Listener,
    L::Addr: fmt::Debug,
    Peer: for<'a> Connected<IncomingStream<'a, L>>,
{
    let routes = routes.into_make_service_with_connect_info::<Peer>();
    let server = axum::serve(listener, routes).with_graceful_shutdown(async move {
        // An error is the end of the sender: the end as well.
        let _ = ended.wait_for(|ended| *ended).await;
    });
    server.await
}

/// Refuses to let everyone in from other machines unless told so in words.
pub(crate) fn check_guarded(
    config: &Config,
    guard: &Guard,
    local: SocketAddr,
) -> Result<(), RunError> {
    if is_loopback(local.ip()) {
        return Ok(());
    }
    if !guard.is_open() {
        if config.tls.is_none() {
            tracing::warn!(listen = %local, "no TLS: tokens can be read on the way here");
        }
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
