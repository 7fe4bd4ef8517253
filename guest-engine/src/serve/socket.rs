//! The API's socket: private from its first moment, and never taken from an engine that answers.

use super::ServeError;
use crate::socket_access::SocketAccess;
use std::{fs, io, os::unix::fs::FileTypeExt, path::Path, time::Duration};
use tokio::net::{UnixListener, UnixStream};

/// A listener that does not accept within this time is busy, not gone.
const ANSWER: Duration = Duration::from_secs(2);

/// Binds `path` for root and whom `access` names. A socket that nobody listens on any more is replaced.
pub(super) async fn bind(path: &Path, access: SocketAccess) -> Result<UnixListener, ServeError> {
    let fail = |source| ServeError::Listen { path: path.to_owned(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(fail)?;
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ServeError::NotASocket { path: path.to_owned() });
        }
        Ok(_) if answers(path).await => return Err(ServeError::SocketInUse { path: path.to_owned() }),
        Ok(_) => fs::remove_file(path).map_err(fail)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error)),
    }
    let listener = access.bind(path).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    UnixListener::from_std(listener).map_err(fail)
}

async fn answers(path: &Path) -> bool {
    match tokio::time::timeout(ANSWER, UnixStream::connect(path)).await {
        Ok(connected) => connected.is_ok(),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn private_replaced_when_stale_and_kept_when_alive() {
        let private = SocketAccess::default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/docker.sock");
        let first = bind(&path, private).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind(&path, private).await, Err(ServeError::SocketInUse { .. })));
        drop(first);
        bind(&path, private).await.unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"precious").unwrap();
        assert!(matches!(bind(&file, private).await, Err(ServeError::NotASocket { .. })));
        let group = private.with_group(Some("no such group")).map_err(ServeError::from);
        assert!(matches!(group, Err(ServeError::Group { .. })));
    }
}
