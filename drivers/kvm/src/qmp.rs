//! What the driver asks QEMU's monitor: how the VM is, and to quit.

use crate::{files, socket};
use machine_drivers::InstanceState;
use qapi::{
    futures::QmpStreamTokio,
    qmp::{RunState, query_status, quit},
};
use std::{io, path::Path, time::Duration};
use tokio::time::timeout;

/// How the VM is. The monitor serves one client at a time: `limit` bounds the wait for another one.
pub(crate) async fn state(directory: &Path, limit: Duration) -> io::Result<InstanceState> {
    let ask = async {
        let stream = socket::connect(directory, files::QMP_SOCKET).await?;
        let mut qmp = QmpStreamTokio::open(stream).await?.negotiate().await?;
        let status = qmp.execute(query_status {}).await.map_err(io::Error::other)?;
        Ok(match status.status {
            RunState::inmigrate | RunState::prelaunch | RunState::restore_vm => InstanceState::Starting,
            RunState::shutdown => InstanceState::Stopping,
            RunState::internal_error | RunState::guest_panicked => InstanceState::Error,
            RunState::paused
            | RunState::io_error
            | RunState::debug
            | RunState::suspended
            | RunState::postmigrate => InstanceState::Paused,
            _ => InstanceState::Running,
        })
    };
    timeout(limit, ask).await?
}

/// Lets QEMU end at once, its disk caches flushed. It may be gone before it has answered.
pub(crate) async fn end(directory: &Path, limit: Duration) -> io::Result<()> {
    let ask = async {
        let stream = socket::connect(directory, files::QMP_SOCKET).await?;
        let mut qmp = QmpStreamTokio::open(stream).await?.negotiate().await?;
        qmp.execute(quit {}).await.map(drop).map_err(io::Error::other)
    };
    timeout(limit, ask).await?
}
