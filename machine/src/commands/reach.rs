//! `machine url` and `machine ip`: where a running machine is reached.

use super::Context;
use crate::{
    cli::{Names, OptionalName},
    error::CommandError,
    machine::MachineName,
};
use futures_util::future::join_all;
use std::path::{Path, PathBuf};

pub(super) async fn url(context: &Context<'_>, arguments: &OptionalName) -> Result<(), CommandError> {
    let name = context.name(arguments.name.as_deref())?;
    context.ui.data(&socket_url(&live_socket(context, &name).await?));
    Ok(())
}

pub(super) async fn ip(context: &Context<'_>, arguments: &Names) -> Result<(), CommandError> {
    let names = context.names(&arguments.names)?;
    let lifecycle = context.lifecycle();
    let addresses = join_all(names.iter().map(async |name| {
        let whole = lifecycle.whole(name)?;
        Ok::<_, CommandError>(lifecycle.access(&whole).await?.ip)
    }))
    .await;
    for address in addresses {
        context.ui.data(&address?);
    }
    Ok(())
}

/// The socket of a running machine's Engine API, with somebody behind it: a keeper that died is
/// replaced.
pub(super) async fn live_socket(context: &Context<'_>, name: &MachineName) -> Result<PathBuf, CommandError> {
    let lifecycle = context.lifecycle();
    let whole = lifecycle.whole(name)?;
    lifecycle.access(&whole).await?;
    context
        .guests
        .adopt(name, &whole.folder)
        .await
        .map_err(|error| CommandError::caused(format!("Could not reach machine \"{name}\""), &error))?;
    Ok(context.guests.api_socket(&whole.folder))
}

/// A socket as Docker's clients take it.
pub(super) fn socket_url(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}
