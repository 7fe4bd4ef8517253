//! From a stopped instance to a QEMU whose monitor answers.

use crate::{
    accel::Accelerator,
    command_line, console, files, folder,
    kernel::{self, Kernel},
    network, process, qmp,
    record::{Asked, Machine, Record},
};
use machine_drivers::DriverError;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    process::Child,
    time::{Instant, sleep},
};

/// How long QEMU may take from exec to an answering monitor.
const UP_LIMIT: Duration = Duration::from_secs(30);
/// How long one question to the monitor may take meanwhile.
const ASK_LIMIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);
/// How often another port is tried when somebody takes the one that was free a moment ago.
const PORT_ATTEMPTS: usize = 5;

/// What this host starts machines with.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) qemu: PathBuf,
    pub(crate) accelerator: Accelerator,
}

/// Starts the instance in `directory` unless it runs. Holds the folder's lock throughout, so of
/// concurrent calls one starts it and the others find it running.
pub(crate) async fn start(host: Host, directory: PathBuf) -> Result<(), DriverError> {
    let lock = folder::lock(&directory).await?;
    let Some(mut record) = Record::load(&directory)? else { return Err(folder::not_found(&directory)) };
    if process::find(&directory)?.is_some() {
        return await_monitor(&directory, None).await;
    }
    let kernel = kernel::unpack(&record.machine.image, &record.machine.cache).await?;
    console::rotate(&directory)?;
    let mut attempt = 1;
    let started = loop {
        record.ssh_port = Some(network::free_port(record.ssh_port)?);
        record.asked = Asked::Running;
        record.save(&directory)?;
        match boot(&host, &directory, &record.machine, &kernel, record.ssh_port.unwrap_or_default()).await {
            Err(Failure::PortTaken) if attempt < PORT_ATTEMPTS => {
                attempt += 1;
                record.ssh_port = None;
            }
            Err(Failure::PortTaken) => {
                let what = "Other programs took every free TCP port before QEMU could".to_owned();
                break Err(DriverError::Provider { what });
            }
            Err(Failure::Other(error)) => break Err(error),
            Ok(()) => break Ok(()),
        }
    };
    if started.is_err() && process::find(&directory)?.is_none() {
        record.asked = Asked::Stopped;
        record.save(&directory)?;
    }
    drop(lock);
    started
}

enum Failure {
    PortTaken,
    Other(DriverError),
}

async fn boot(
    host: &Host,
    directory: &Path,
    machine: &Machine,
    kernel: &Kernel,
    port: u16,
) -> Result<(), Failure> {
    let arguments = command_line::arguments(machine, kernel, &host.accelerator, port);
    let child = process::spawn(&host.qemu, &arguments, directory).map_err(Failure::Other)?;
    let pid = child.id();
    tracing::debug!(machine = machine.name, pid, port, "QEMU started");
    match await_monitor(directory, Some(child)).await {
        Ok(()) => Ok(()),
        Err(DriverError::Provider { what }) if what.to_lowercase().contains("host forwarding rule") => {
            Err(Failure::PortTaken)
        }
        Err(error) => Err(Failure::Other(error)),
    }
}

/// Waits until the monitor answers. `child` is the QEMU we started, to notice that it has ended; it
/// is given up only when the pid file is locked by another QEMU, whose start was cut short before.
async fn await_monitor(directory: &Path, mut child: Option<Child>) -> Result<(), DriverError> {
    let deadline = Instant::now() + UP_LIMIT;
    loop {
        if let Some(running) = &mut child
            && let Ok(Some(status)) = running.try_wait()
        {
            if process::find(directory)?.is_none() {
                return Err(DriverError::Provider { what: why(directory, &status.to_string()) });
            }
            child = None;
        }
        if child.is_none() && process::find(directory)?.is_none() {
            return Err(DriverError::Provider { what: why(directory, "without a word") });
        }
        // Before our QEMU holds its pid file, what answers may be the socket of nobody.
        if process::find(directory)?.is_some() && qmp::state(directory, ASK_LIMIT).await.is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            if let Some(child) = &mut child {
                let _ = child.kill().await;
            }
            return Err(DriverError::Timeout { what: "Starting QEMU".to_owned(), limit: UP_LIMIT });
        }
        sleep(POLL).await;
    }
}

fn why(directory: &Path, status: &str) -> String {
    let said = process::last_words(directory);
    match said.as_str() {
        "" => {
            format!("QEMU ended at once ({status}); its log is {}", directory.join(files::QEMU_LOG).display())
        }
        said => format!("QEMU could not start the machine: {said}"),
    }
}
