//! `machine use`: the docker CLI talks to a machine without any variable being set.

use super::{Context, reach};
use crate::{
    cli::Use,
    docker_context::name_of,
    endpoint::socket_url,
    env_vars,
    error::{CommandError, ErrorKind},
};

pub(super) async fn run(context: &Context<'_>, arguments: &Use) -> Result<(), CommandError> {
    let contexts = context.contexts.ok_or_else(|| {
        CommandError::new(ErrorKind::Failed, "There is no place for docker's contexts: HOME is not set")
    })?;
    let failed = |error: crate::docker_context::ContextError| {
        CommandError::caused("Could not change the docker CLI's context", &error)
    };
    if arguments.unset {
        contexts.choose(None).map_err(failed)?;
        context.ui.status("docker uses its default context");
        return Ok(());
    }
    let name = context.name(arguments.name.as_deref())?;
    let socket = reach::live_socket(context, &name).await?;
    contexts.put(&name, &context.store.folder(&name), &socket_url(&socket)).map_err(failed)?;
    contexts.choose(Some(&name)).map_err(failed)?;
    context.ui.status(&format!("docker talks to machine \"{name}\" (context {})", name_of(&name)));
    for variable in [env_vars::DOCKER_HOST, env_vars::DOCKER_CONTEXT] {
        if context.environment.get(variable).is_some() {
            context.ui.warning(&format!("{variable} is set in this shell and goes before it; unset it"));
        }
    }
    Ok(())
}
