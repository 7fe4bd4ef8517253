//! `machine env`: the lines that set a shell to a machine.

use super::{Context, reach};
use crate::{
    cli::Env,
    env::{Change, Shell},
    env_vars,
    error::{CommandError, ErrorKind},
};

pub(super) async fn run(context: &Context<'_>, arguments: &Env) -> Result<(), CommandError> {
    let shell = match &arguments.shell {
        Some(shell) => shell.parse()?,
        None => Shell::of_login(context.environment.get(env_vars::SHELL)),
    };
    let changes = if arguments.unset { unset(arguments)? } else { set(context, arguments).await? };
    context.ui.data_raw(&shell.script(&changes, &invocation(context)));
    Ok(())
}

async fn set(context: &Context<'_>, arguments: &Env) -> Result<Vec<Change>, CommandError> {
    let name = context.name(arguments.name.as_deref())?;
    let socket = reach::live_socket(context, &name).await?;
    // What docker-machine, or an earlier `env` of it, has left in this shell would send docker looking
    // for certificates.
    let stale = [env_vars::DOCKER_TLS_VERIFY, env_vars::DOCKER_CERT_PATH];
    let mut changes: Vec<Change> = stale
        .into_iter()
        .filter(|name| context.environment.variables.contains_key(*name))
        .map(|name| Change { name, value: None })
        .collect();
    changes.push(Change { name: env_vars::DOCKER_HOST, value: Some(reach::socket_url(&socket)) });
    changes.push(Change { name: env_vars::NAME, value: Some(name.into()) });
    Ok(changes)
}

fn unset(arguments: &Env) -> Result<Vec<Change>, CommandError> {
    if arguments.name.is_some() {
        return Err(CommandError::new(
            ErrorKind::Usage,
            "Expected no machine name when the -u flag is present",
        ));
    }
    let all =
        [env_vars::DOCKER_TLS_VERIFY, env_vars::DOCKER_HOST, env_vars::DOCKER_CERT_PATH, env_vars::NAME];
    Ok(all.into_iter().map(|name| Change { name, value: None }).collect())
}

/// The command as typed, for the comment that says how to evaluate it.
fn invocation(context: &Context<'_>) -> String {
    let word = |word: &std::ffi::OsString| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_alphanumeric() || "-_./=:@+,".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace(['\'', '\n'], " "))
        }
    };
    context.invocation.iter().map(word).collect::<Vec<_>>().join(" ")
}
