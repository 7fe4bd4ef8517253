//! `machine mount`: a folder of a machine on this computer, by sshfs.

use super::Context;
use crate::{
    cli::Mount,
    copy::Named,
    env_vars,
    error::{CommandError, ErrorKind},
    file_error::FileError,
    ssh,
    store::files,
};
use std::{fs, path::Path, process::Command};

pub(super) async fn run(context: &Context<'_>, arguments: &Mount) -> Result<(), CommandError> {
    let (name, path) = match Named::parse(&arguments.source)? {
        Named::Machine(name, path) => (name, path),
        Named::Local(path) => (context.name(None)?, path.to_string_lossy().into_owned()),
    };
    // As docker-machine: by default a folder is mounted where it is in the machine.
    let point = arguments.point.clone().unwrap_or_else(|| path.clone().into());
    let point = context.environment.working_folder.join(point);
    if arguments.unmount {
        return start(context, "fusermount", &["-u".into(), point.display().to_string()], &[]);
    }
    let lifecycle = context.lifecycle();
    let whole = lifecycle.whole(&name)?;
    let access = lifecycle.access(&whole).await?;
    let known_hosts = whole.folder.join(files::KNOWN_HOSTS);
    let known = ssh::known_hosts(&access, &whole.folder).map_err(|error| {
        CommandError::caused(format!("Could not tell ssh the host key of machine \"{name}\""), &error)
    })?;
    if known.is_empty() {
        let what = format!(
            "Only the fingerprint of the host key of machine \"{name}\" is known, and ssh wants the key"
        );
        return Err(CommandError::new(ErrorKind::Failed, what));
    }
    fs::write(&known_hosts, known).map_err(FileError::on("write", &known_hosts))?;
    let endpoint = &access.ssh;
    let client_key = access.keys.client.clone().unwrap_or_else(|| whole.folder.join(files::CLIENT_KEY));
    let option = |name: &str, path: &Path| format!("{name}={}", path.display());
    let options = [
        option("IdentityFile", &client_key),
        option("UserKnownHostsFile", &known_hosts),
        "IdentitiesOnly=yes".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "reconnect,ServerAliveInterval=15".to_owned(),
    ];
    // An address with colons is bracketed before a path.
    let host = &endpoint.host;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let source = format!("{}@{host}:{path}", endpoint.user);
    let port = endpoint.port.to_string();
    start(context, "sshfs", &[source, point.display().to_string(), "-p".to_owned(), port], &options)
}

fn start(
    context: &Context<'_>,
    program: &str,
    words: &[String],
    options: &[String],
) -> Result<(), CommandError> {
    let mut command = Command::new(program);
    command.args(words);
    for option in options {
        command.args(["-o", option]);
    }
    if let Some(path) = context.environment.get(env_vars::PATH) {
        command.env(env_vars::PATH, path);
    }
    let status = command.status().map_err(|error| {
        CommandError::caused(
            format!("You must have a copy of the {program} binary locally to use the mount feature"),
            &error,
        )
        .hinted("Debian and Ubuntu have it in the package sshfs")
    })?;
    match status.code() {
        Some(0) => Ok(()),
        _ => Err(CommandError::new(ErrorKind::Failed, format!("{program} failed ({status})"))),
    }
}
