//! The engine on a host that has an operating system of its own: put there over SSH, kept up to date, and
//! taken away again.
//!
//! ```text
//!   connect ─▶ probe ─────────────▶ install: binary sent, service written, started, answering ─▶ done
//!                │ ours, up to date            (if not there)            │ not answering
//!                ▼                                                       ▼
//!               done                                  what was there before is put back
//! ```
//!
//! Everything is in the places of `guest_contract::host`. An engine that is there already (dockerd,
//! podman) is neither stopped nor configured; the host's own SSH server is the only way in. One command
//! over SSH does all of it.

mod binary;
mod facts;
mod folders;
mod service;
mod service_file;

pub use binary::{BinaryError, EngineBinary};
pub use facts::{Facts, Init};

use crate::ssh::{Connection, Connector, LISTEN, Output, RemoteShell, SshError, whole};
use facts::Unfit;
use guest_contract::{folders::SharedFolder, host, seed::EngineSettings};
use machine_drivers::{Access, Progress};
use service::{Installation, shell_quoted};
use std::{path::Path, time::Duration};
use tokio::time::{Instant, sleep};

/// Becomes root where it may, which costs as much as all of the probe; `$1` is what to run then, with how it became
/// root (`no` if it did not) and the number of the account that logged in.
const BECOME_ROOT: &str = "number=$(id -u); [ $number -ne 0 ] || exec sh -c \"$1\" sh root 0; \
     sudo -n sh -c \"$1\" sh sudo $number || doas -n sh -c \"$1\" sh doas $number || \
     exec sh -c \"$1\" sh no $number";
const PROBE: &str = include_str!("provision/probe.sh");
const INSTALL: &str = include_str!("provision/install.sh");
const HALT: &str = include_str!("provision/halt.sh");
const SERVICES: &str = include_str!("provision/services.sh");
const FOLDERS: &str = include_str!("provision/folders.sh");

/// Until a host that is booting must let us in.
const CONNECT_LIMIT: Duration = Duration::from_secs(600);
/// Until a host that is known to run must.
const REACH_LIMIT: Duration = Duration::from_secs(20);
/// Pause between attempts.
const RETRY: Duration = Duration::from_secs(1);
/// A look at the host.
const PROBE_LIMIT: Duration = Duration::from_secs(60);
/// The binary over a slow line; and starting a service twice: the new one, and the old one when that fails.
const INSTALL_LIMIT: Duration = Duration::from_secs(1140);
/// Stopping all containers.
const HALT_LIMIT: Duration = Duration::from_secs(120);

/// A host and what it shall be.
#[derive(Clone, Copy, Debug)]
pub struct HostPlan<'a> {
    /// How to reach it.
    pub access: &'a Access,
    /// The machine's folder, with its keys.
    pub folder: &'a Path,
    /// The machine's id: a host belongs to one machine.
    pub machine_id: &'a str,
    /// The driver's name, a label of the engine.
    pub driver: &'a str,
    /// Settings of the engine.
    pub engine: &'a EngineSettings,
    /// Folders of this computer that its containers see.
    pub folders: &'a [SharedFolder],
}

/// A host could not be made an engine's.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// SSH does not get in, or broke.
    #[error("Could not work on the host over SSH")]
    Ssh(#[from] SshError),
    /// The host is no place for an engine.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// There is no engine to upload.
    #[error(transparent)]
    Binary(#[from] BinaryError),
    /// It is another machine's.
    #[error("The host belongs to another machine (id {owner})")]
    Taken { owner: String },
    /// A step on the host failed; its own words.
    #[error("{what}{}", lines(.log))]
    Step { what: String, log: Vec<String> },
}

/// Sees to it that the engine of this release answers on the host. Cheap when it does already: one round
/// trip. Whether it did not.
pub async fn provision(
    plan: &HostPlan<'_>,
    binary: &EngineBinary,
    progress: &dyn Progress,
) -> Result<bool, ProvisionError> {
    progress.step("Waiting for SSH to be available");
    pin(plan, progress).await?;
    let connection = connect(plan, CONNECT_LIMIT).await?;
    let (shell, facts) = probe(&connection, plan.folders).await?;
    if let Some(owner) = facts.owner.as_deref().filter(|owner| *owner != plan.machine_id) {
        return Err(ProvisionError::Taken { owner: owner.to_owned() });
    }
    let binary = match binary.load(&facts.arch) {
        // This computer has no engine to give, but the host has one.
        Err(BinaryError::Nowhere { .. }) if facts.owner.is_some() && facts.is_active() => {
            progress
                .step("This computer has no engine to put there: the host's goes on with what it was given");
            return Ok(false);
        }
        loaded => loaded?,
    };
    let installation = Installation::new(plan, &facts, &binary)?;
    if facts.is_current(&installation) {
        connection.close().await;
        return Ok(false);
    }
    for remark in facts.remarks() {
        progress.step(&remark);
    }
    install(shell, &facts, &installation, &binary, progress).await?;
    connection.close().await;
    Ok(true)
}

/// Ends the engine and its containers; with `remove`, takes away everything that was put there. A host
/// that belongs to another machine meanwhile is left alone.
pub async fn halt(plan: &HostPlan<'_>, remove: bool) -> Result<(), ProvisionError> {
    let connection = connect(plan, REACH_LIMIT).await?;
    let (shell, facts) = probe(&connection, &[]).await?;
    let Some(service) = facts.init.as_ref().and_then(Init::service_file) else {
        // Nothing of ours can be there.
        return Ok(());
    };
    let init = facts.init.as_ref();
    let assignments = [
        ("INIT", init.map_or("", Init::name)),
        ("REMOVE", if remove { "yes" } else { "no" }),
        ("MACHINE_ID", plan.machine_id),
        ("SERVICE_FILE", service),
        ("BRIDGE", host::BRIDGE),
    ];
    let assignments = service::assign(&[&assignments[..], &folders::assignments(init)].concat());
    let script = format!("{assignments}{SERVICES}{FOLDERS}{HALT}");
    let what = if remove { "Removing the engine" } else { "Stopping the engine" };
    let output = shell.run_last(what, &script, None, HALT_LIMIT).await?;
    connection.close().await;
    match value(&output.stdout, "error") {
        Some(error) => Err(ProvisionError::Step { what: error.to_owned(), log: Vec::new() }),
        None if output.code != 0 => Err(failed(what, &output)),
        None => Ok(()),
    }
}

/// Finds out the key of a host of which nobody can tell it: at the first contact, right after it was made.
async fn pin(plan: &HostPlan<'_>, progress: &dyn Progress) -> Result<(), SshError> {
    let deadline = Instant::now() + CONNECT_LIMIT;
    loop {
        match Connector::pin(plan.access, plan.folder).await {
            Ok(None) => return Ok(()),
            Ok(Some(fingerprint)) => {
                progress.step(&format!(
                    "Pinned the host key {fingerprint}, shown at the first contact; compare it with the provider's console"
                ));
                return Ok(());
            }
            // Until its first boot has got that far, it may not know our key yet.
            Err(error @ SshError::Keys(_)) => return Err(error),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "SSH does not answer yet");
            }
        }
        sleep(RETRY).await;
    }
}

/// Waits for a host that may be booting. One whose keys were seeded may show the ones it was built with
/// until its first boot has got that far; one whose keys were given to us may not.
async fn connect(plan: &HostPlan<'_>, limit: Duration) -> Result<Connection, SshError> {
    let connector = Connector::new(plan.access, plan.folder)?;
    let deadline = Instant::now() + limit;
    let seeded = plan.access.keys.host.is_empty();
    loop {
        match connector.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) if Instant::now() > deadline || (error.is_permanent() && !seeded) => {
                return Err(error);
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "SSH does not answer yet");
            }
        }
        sleep(RETRY).await;
    }
}

/// A look at the host, and the shell, root's if that may be, that took it.
async fn probe(
    connection: &Connection,
    folders: &[SharedFolder],
) -> Result<(RemoteShell, Facts), ProvisionError> {
    let command = format!("sh -c {} sh {}", shell_quoted(BECOME_ROOT), shell_quoted(LISTEN));
    let mut shell = connection.listen(&command).await?;
    let lines = folders::lines(folders);
    let about = [("FOLDERS", &*lines), ("PLACES", host::FOLDERS_PLACES), ("MADE", host::FOLDERS_MADE)];
    let script = format!("{}{SERVICES}{PROBE}", service::assign(&about));
    let output = shell.run("Looking at the host", &script, PROBE_LIMIT).await?;
    match Facts::parse(&output.stdout) {
        Some(facts) => Ok((shell, facts)),
        None => Err(failed("Looking at the host", &output)),
    }
}

async fn install(
    shell: RemoteShell,
    facts: &Facts,
    installation: &Installation,
    binary: &binary::Loaded,
    progress: &dyn Progress,
) -> Result<(), ProvisionError> {
    let upgrading = if facts.owner.is_some() { "Upgrading" } else { "Installing" };
    let mib = binary.plain.len() >> 20;
    let (unpack, content, size) = if facts.has_binary(&installation.engine) {
        ("", None, String::new())
    } else if facts.has_tool("gzip") {
        ("gzip -dc", Some(binary.packed()), format!(" ({mib} MiB, packed on the way)"))
    } else {
        ("cat", Some(whole(&binary.plain)), format!(" ({mib} MiB)"))
    };
    progress.step(&format!("{upgrading} the engine{size}"));
    let assignments = installation.assignments(unpack, binary.plain.len());
    let script = format!("{assignments}{SERVICES}{FOLDERS}{INSTALL}");
    let output = shell.run_last("Installing the engine", &script, content, INSTALL_LIMIT).await?;
    installed(&output)
}

fn installed(output: &Output) -> Result<(), ProvisionError> {
    if value(&output.stdout, "done").is_some() {
        return Ok(());
    }
    let Some(error) = value(&output.stdout, "error") else {
        return Err(failed("Installing the engine", output));
    };
    let what = match value(&output.stdout, "rolled_back") {
        Some("yes") => format!("{error}; the one that was there before runs again"),
        Some(_) => format!("{error}, nor does the one that was there before"),
        None => error.to_owned(),
    };
    let log = output.stdout.lines().filter_map(|line| line.strip_prefix("log=")).map(str::to_owned);
    Err(ProvisionError::Step { what, log: log.collect() })
}

fn failed(what: &str, output: &Output) -> ProvisionError {
    let said = output.stderr.lines().chain(output.stdout.lines()).map(str::to_owned);
    let mut log: Vec<String> = said.filter(|line| !line.trim().is_empty()).collect();
    log.truncate(15);
    ProvisionError::Step { what: format!("{what} failed on the host (exit code {})", output.code), log }
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

fn lines(log: &[String]) -> String {
    log.iter().map(|line| format!("\n    {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_start_is_told_with_its_log_and_what_became_of_the_old_one() {
        let said = |stdout: &str| Output { code: 1, stdout: stdout.to_owned(), stderr: String::new() };
        installed(&Output { code: 0, ..said("done=yes\n") }).unwrap();
        let error = installed(&said("error=The engine did not start\nlog=a\nlog=b\nrolled_back=yes\n"));
        let text = error.unwrap_err().to_string();
        assert_eq!(text, "The engine did not start; the one that was there before runs again\n    a\n    b");
        let error = installed(&Output { stderr: "sudo: no\n".to_owned(), ..said("") }).unwrap_err();
        assert!(error.to_string().ends_with("(exit code 1)\n    sudo: no"), "{error}");
    }
}
