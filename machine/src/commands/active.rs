//! `machine active`: which machine docker talks to in this shell.

use super::Context;
use crate::{
    docker_context,
    endpoint::socket_url,
    env_vars,
    error::{CommandError, ErrorKind},
    machine::MachineName,
};

pub(super) fn run(context: &Context<'_>) -> Result<(), CommandError> {
    let names = context.store.list()?;
    let active = names.iter().find(|name| is_active(context, name)).ok_or_else(|| {
        CommandError::new(ErrorKind::Failed, "No active host found").hinted(
            "Set the shell to one with \"eval $(machine env NAME)\", or docker with \"machine use NAME\"",
        )
    })?;
    context.ui.data(active.as_str());
    Ok(())
}

/// As the docker CLI decides: `DOCKER_HOST`, else the context of the environment, else the chosen one.
pub(super) fn is_active(context: &Context<'_>, name: &MachineName) -> bool {
    if let Some(endpoint) = context.environment.get(env_vars::DOCKER_HOST) {
        let folder = context.store.folder(name);
        let tls = context.guests.tls_port(&folder).map(|port| format!("tcp://127.0.0.1:{port}"));
        return socket_url(&context.guests.api_socket(&folder)) == endpoint
            || tls.as_deref() == Some(endpoint);
    }
    let of_environment = context.environment.get(env_vars::DOCKER_CONTEXT).map(str::to_owned);
    let current =
        of_environment.or_else(|| context.contexts.and_then(|contexts| contexts.current().ok().flatten()));
    current.is_some_and(|current| current == docker_context::name_of(name))
}
