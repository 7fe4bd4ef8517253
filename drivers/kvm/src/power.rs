//! Off: asked for through the power port, cut through the monitor or by a signal.

use crate::{
    files, folder, process,
    process::Process,
    qmp,
    record::{Asked, Record},
    socket,
};
use guest_contract::paths::POWER_OFF;
use machine_drivers::DriverError;
use std::{io, path::Path, time::Duration};
use tokio::{io::AsyncWriteExt, time::Instant};

/// How long QEMU may take to quit when its monitor asks, before it is killed.
const QUIT_LIMIT: Duration = Duration::from_secs(2);
/// How long the kernel may take to end a killed QEMU.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Asks the guest to power off and waits for it, `grace` long. A start under way is waited for, and
/// counts; the lock is not held meanwhile, so that the instance can be killed.
pub(crate) async fn stop(directory: &Path, grace: Duration) -> Result<(), DriverError> {
    let deadline = Instant::now() + grace;
    let lock = folder::lock(directory).await?;
    let found = remember(directory, Asked::Stopped).and_then(|()| process::find(directory));
    drop(lock);
    let Some(process) = found? else { return Ok(()) };
    let asked = async {
        let mut port = socket::connect(directory, files::POWER_SOCKET).await?;
        port.write_all(format!("{POWER_OFF}\n").as_bytes()).await?;
        io::Result::Ok(port)
    };
    // The connection stays open until the guest is off: it may still be booting and read the line late.
    let port = match tokio::time::timeout_at(deadline, asked).await {
        Ok(Ok(port)) => Some(port),
        // QEMU may have ended in this moment; the wait below knows.
        Ok(Err(error)) => {
            tracing::debug!(%error, "The power port does not answer");
            None
        }
        Err(_) => None,
    };
    let ended = process.ended(deadline.saturating_duration_since(Instant::now())).await;
    drop(port);
    if ended.map_err(|error| waiting(&error))? {
        return Ok(());
    }
    // It runs on: if it dies later, that is a crash.
    remember(directory, Asked::Running)?;
    Err(DriverError::Timeout { what: "Powering off".to_owned(), limit: grace })
}

/// Cuts the power.
pub(crate) async fn kill(directory: &Path) -> Result<(), DriverError> {
    let _lock = folder::lock(directory).await?;
    remember(directory, Asked::Stopped)?;
    match process::find(directory)? {
        Some(process) => end(directory, &process).await,
        None => Ok(()),
    }
}

async fn end(directory: &Path, process: &Process) -> Result<(), DriverError> {
    let deadline = Instant::now() + QUIT_LIMIT;
    if let Err(error) = qmp::end(directory, QUIT_LIMIT).await {
        tracing::debug!(%error, pid = process.pid(), "QEMU does not quit when asked");
    }
    if process
        .ended(deadline.saturating_duration_since(Instant::now()))
        .await
        .map_err(|error| waiting(&error))?
    {
        return Ok(());
    }
    process.kill().map_err(|error| DriverError::Provider {
        what: format!("QEMU (process {}) cannot be killed: {error}", process.pid()),
    })?;
    if process.ended(KILL_LIMIT).await.map_err(|error| waiting(&error))? {
        return Ok(());
    }
    Err(DriverError::Timeout { what: "Killing QEMU".to_owned(), limit: KILL_LIMIT })
}

/// Removes all files of the instance, after it was killed.
pub(crate) async fn remove(directory: &Path) -> Result<(), DriverError> {
    let _lock = folder::lock(directory).await?;
    if let Some(process) = process::find(directory)? {
        end(directory, &process).await?;
    }
    files::ALL.iter().try_for_each(|name| folder::remove_file(&directory.join(name)))
}

fn remember(directory: &Path, asked: Asked) -> Result<(), DriverError> {
    let mut record = Record::load(directory)?.ok_or_else(|| folder::not_found(directory))?;
    if record.asked == asked {
        return Ok(());
    }
    record.asked = asked;
    record.save(directory)
}

fn waiting(error: &io::Error) -> DriverError {
    DriverError::Provider { what: format!("Waiting for QEMU to end failed: {error}") }
}
