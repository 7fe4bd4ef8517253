//! `machine active`: which machine the shell is set to.

use super::Context;
use crate::{
    endpoint::socket_url,
    env_vars,
    error::{CommandError, ErrorKind},
};

pub(super) fn run(context: &Context<'_>) -> Result<(), CommandError> {
    let none = || {
        CommandError::new(ErrorKind::Failed, "No active host found")
            .hinted("Set the shell to one with \"eval $(machine env NAME)\"")
    };
    let endpoint = context.environment.get(env_vars::DOCKER_HOST).ok_or_else(none)?;
    let names = context.store.list()?;
    let active = names.iter().find(|name| {
        let folder = context.store.folder(name);
        let tls = context.guests.tls_port(&folder).map(|port| format!("tcp://127.0.0.1:{port}"));
        socket_url(&context.guests.api_socket(&folder)) == endpoint || tls.as_deref() == Some(endpoint)
    });
    context.ui.data(active.ok_or_else(none)?.as_str());
    Ok(())
}
