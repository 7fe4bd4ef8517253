//! `machine active`: which machine the shell is set to.

use super::Context;
use crate::{
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
        let socket = context.guests.api_socket(&context.store.folder(name));
        super::reach::socket_url(&socket) == endpoint
    });
    context.ui.data(active.ok_or_else(none)?.as_str());
    Ok(())
}
