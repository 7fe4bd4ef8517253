//! Spawns a shim and waits for its one line: created, or why not.

use crate::shim::protocol::Reply;
use engine::ports::RuntimeError;
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncReadExt, BufReader},
    process::Command,
    time::timeout,
};

/// How a failed create of a container reads under dockerd; clients search it for what they know.
pub(super) const CREATE_PREFIX: &str = "failed to create task for container: failed to create shim task: OCI runtime create failed: \
     runc create failed: unable to start container process: ";
/// The same for an exec.
pub(super) const EXEC_PREFIX: &str =
    "OCI runtime exec failed: exec failed: unable to start container process: ";
/// The same when the log driver has failed.
const LOG_PREFIX: &str = "failed to create task for container: failed to initialize logging driver: ";
/// An emulated machine under load takes seconds.
const CREATE_DEADLINE: Duration = Duration::from_secs(120);

/// The OCI runtime's sentence as dockerd shows it.
pub(super) fn refused(prefix: &str, sentence: &str) -> RuntimeError {
    RuntimeError::Start(format!("{prefix}{sentence}: unknown"))
}

/// Starts the shim of `folder`; gives the pid of the created process.
pub(super) async fn spawn(executable: &Path, folder: &Path, prefix: &str) -> Result<u32, RuntimeError> {
    let broken = |what: &str, error: &dyn std::fmt::Display| RuntimeError::System(format!("{what}: {error}"));
    let mut child = Command::new(executable)
        .arg("shim")
        .arg(folder)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| broken("could not run the shim", &error))?;
    let stdout = child.stdout.take();
    let answer = timeout(CREATE_DEADLINE, async {
        let mut text = Vec::new();
        if let Some(stdout) = stdout {
            // The shim closes its end right after the line.
            BufReader::new(stdout).read_to_end(&mut text).await?;
        }
        // The first process has long gone: it only forks.
        child.wait().await?;
        Ok::<_, std::io::Error>(text)
    })
    .await
    .map_err(|_| RuntimeError::System("the shim did not create the process in time".to_owned()))?
    .map_err(|error| broken("could not hear the shim", &error))?;
    match serde_json::from_slice(&answer) {
        Ok(Reply::Created { pid }) => Ok(pid),
        Ok(Reply::Failed { message }) => Err(refused(prefix, &message)),
        Ok(Reply::NotLogged { message }) => Err(RuntimeError::Start(format!("{LOG_PREFIX}{message}"))),
        Ok(other) => Err(RuntimeError::System(format!("the shim gave an unexpected answer: {other:?}"))),
        Err(_) => Err(RuntimeError::System("the shim died before it had created the process".to_owned())),
    }
}
