//! `machine env`: the lines that set a shell to a machine.

use super::{Context, reach};
use crate::{
    cli::Env,
    endpoint::{Endpoint, socket_url},
    env::{Change, Shell},
    env_vars,
    error::{CommandError, ErrorKind},
};
use std::path::Path;

pub(super) async fn run(context: &Context<'_>, arguments: &Env) -> Result<(), CommandError> {
    context.no_swarm(arguments.swarm)?;
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
    let mut changes = match reach::live(context, &name, arguments.tcp).await? {
        Endpoint::Socket(socket) => socket_changes(context, &socket),
        Endpoint::Tls(endpoint) => {
            reach::check(&endpoint).await?;
            let set = |name, value: String| Change { name, value: Some(value) };
            vec![
                set(env_vars::DOCKER_TLS_VERIFY, "1".to_owned()),
                set(env_vars::DOCKER_HOST, endpoint.url()),
                set(env_vars::DOCKER_CERT_PATH, endpoint.folder.display().to_string()),
            ]
        }
    };
    changes.push(Change { name: env_vars::NAME, value: Some(name.as_str().to_owned()) });
    if arguments.no_proxy {
        changes.push(no_proxy(context, &reach::address(context, &name).await?));
    }
    Ok(changes)
}

fn socket_changes(context: &Context<'_>, socket: &Path) -> Vec<Change> {
    // What docker-machine, or an earlier `env` of it, has left in this shell would send docker looking
    // for certificates.
    let stale = [env_vars::DOCKER_TLS_VERIFY, env_vars::DOCKER_CERT_PATH];
    let mut changes: Vec<Change> = stale
        .into_iter()
        .filter(|name| context.environment.variables.contains_key(*name))
        .map(|name| Change { name, value: None })
        .collect();
    changes.push(Change { name: env_vars::DOCKER_HOST, value: Some(socket_url(socket)) });
    changes
}

/// The variable as the shell spells it already, with the machine's address added.
fn no_proxy(context: &Context<'_>, address: &str) -> Change {
    let set = |name| context.environment.get(name).map(|value| (name, value));
    let found = set(env_vars::NO_PROXY).or_else(|| set(env_vars::NO_PROXY_LOWER));
    let (name, value) = found.unwrap_or((env_vars::NO_PROXY, ""));
    let mut hosts: Vec<&str> = value.split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
    if !hosts.contains(&address) {
        hosts.push(address);
    }
    Change { name, value: Some(hosts.join(",")) }
}

fn unset(arguments: &Env) -> Result<Vec<Change>, CommandError> {
    if arguments.name.is_some() {
        return Err(CommandError::new(
            ErrorKind::Usage,
            "Expected no machine name when the -u flag is present",
        ));
    }
    let mut all =
        vec![env_vars::DOCKER_TLS_VERIFY, env_vars::DOCKER_HOST, env_vars::DOCKER_CERT_PATH, env_vars::NAME];
    if arguments.no_proxy {
        all.push(env_vars::NO_PROXY);
    }
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
