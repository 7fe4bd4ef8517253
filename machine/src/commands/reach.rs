//! `machine url` and `machine ip`, and what other commands need: where a running machine is reached.

use super::Context;
use crate::{
    cli::{Names, Url},
    endpoint::{Endpoint, TlsEndpoint, socket_url},
    engine_api,
    error::CommandError,
    lifecycle::Whole,
    machine::MachineName,
    store::foreign,
};
use futures_util::future::join_all;
use std::{path::PathBuf, time::Duration};

/// Until an engine must have answered over TLS.
const CHECK_LIMIT: Duration = Duration::from_secs(30);

pub(super) async fn url(context: &Context<'_>, arguments: &Url) -> Result<(), CommandError> {
    let name = context.name(arguments.name.as_deref())?;
    // docker-machine's callers go on with its certificates, over TCP.
    let tcp = arguments.tcp || crate::is_docker_machine(context.invocation);
    let url = match live(context, &name, tcp).await? {
        Endpoint::Socket(socket) => socket_url(&socket),
        Endpoint::Tls(endpoint) => endpoint.url(),
    };
    context.ui.data(&url);
    Ok(())
}

pub(super) async fn ip(context: &Context<'_>, arguments: &Names) -> Result<(), CommandError> {
    let names = context.names(&arguments.names)?;
    let addresses = join_all(names.iter().map(|name| address(context, name))).await;
    for address in addresses {
        context.ui.data(&address?);
    }
    Ok(())
}

/// The address of a running machine.
pub(super) async fn address(context: &Context<'_>, name: &MachineName) -> Result<String, CommandError> {
    if let Some(address) = foreign_document(context, name)?.as_ref().and_then(foreign::address) {
        return Ok(address);
    }
    let lifecycle = context.lifecycle();
    let whole = lifecycle.whole(name)?;
    Ok(lifecycle.access(&whole).await?.ip)
}

/// A running machine's Engine API: over TLS when that is asked for, or when docker-machine made the machine.
pub(super) async fn live(
    context: &Context<'_>,
    name: &MachineName,
    tls: bool,
) -> Result<Endpoint, CommandError> {
    if tls || foreign_document(context, name)?.is_some() {
        Ok(Endpoint::Tls(live_tls(context, name).await?))
    } else {
        Ok(Endpoint::Socket(live_socket(context, name).await?))
    }
}

/// The socket of a running machine's Engine API, with somebody behind it: a keeper that died is
/// replaced.
pub(super) async fn live_socket(context: &Context<'_>, name: &MachineName) -> Result<PathBuf, CommandError> {
    let whole = adopted(context, name).await?;
    Ok(context.guests.api_socket(&whole.folder))
}

/// The TLS endpoint of a running machine's Engine API, with somebody behind it and good certificates.
pub(super) async fn live_tls(context: &Context<'_>, name: &MachineName) -> Result<TlsEndpoint, CommandError> {
    if let Some(document) = foreign_document(context, name)? {
        let record = context.store.load(name)?;
        return foreign::endpoint(&document).ok_or_else(|| crate::lifecycle::foreign(name, &record.driver));
    }
    let whole = adopted(context, name).await?;
    context.lifecycle().tls_endpoint(&whole)
}

/// Whether the engine answers there and takes our certificate.
pub(super) async fn check(endpoint: &TlsEndpoint) -> Result<(), CommandError> {
    let answered = engine_api::version(&Endpoint::Tls(endpoint.clone()), CHECK_LIMIT).await;
    answered.map(drop).map_err(|error| {
        CommandError::caused("Error checking TLS connection", &error).hinted(
            "If its certificates are the reason: \"machine regenerate-certs NAME\" makes new ones, which does \
             not touch containers",
        )
    })
}

async fn adopted(context: &Context<'_>, name: &MachineName) -> Result<Whole, CommandError> {
    let lifecycle = context.lifecycle();
    let whole = lifecycle.whole(name)?;
    lifecycle.access(&whole).await?;
    context
        .guests
        .adopt(name, &whole.folder)
        .await
        .map_err(|error| CommandError::caused(format!("Could not reach machine \"{name}\""), &error))?;
    Ok(whole)
}

/// The record, when docker-machine made the machine and says in it where it is.
fn foreign_document(
    context: &Context<'_>,
    name: &MachineName,
) -> Result<Option<serde_json::Value>, CommandError> {
    let record = context.store.load(name)?;
    let document = record.foreign().filter(|document| foreign::endpoint(document).is_some());
    Ok(document.cloned())
}
