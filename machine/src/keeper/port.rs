//! The TCP port of the TLS endpoint: the same from keeper to keeper, as long as nobody else takes it.

use crate::store::files;
use std::{fs, io, net::Ipv4Addr, path::Path};
use tokio::net::TcpListener;

/// The port of the machine in `directory`, when a keeper has ever chosen one.
pub fn tls_port(directory: &Path) -> Option<u16> {
    fs::read_to_string(directory.join(files::TLS_PORT)).ok()?.trim().parse().ok()
}

/// Listens on this host's loopback and writes down where. The caller holds the keeper's lock.
pub(super) async fn listen(directory: &Path) -> io::Result<TcpListener> {
    if let Some(port) = tls_port(directory)
        && let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
    {
        return Ok(listener);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let partial = directory.join(format!("{}{}", files::PARTIAL_PREFIX, files::TLS_PORT));
    fs::write(&partial, format!("{}\n", listener.local_addr()?.port()))?;
    fs::rename(partial, directory.join(files::TLS_PORT))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_port_stays_unless_it_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(tls_port(directory.path()), None);
        let first = listen(directory.path()).await.unwrap();
        let port = first.local_addr().unwrap().port();
        assert_eq!(tls_port(directory.path()), Some(port));
        let other = listen(directory.path()).await.unwrap();
        assert_ne!(other.local_addr().unwrap().port(), port, "it is taken");
        let kept = tls_port(directory.path()).unwrap();
        drop((first, other));
        assert_eq!(listen(directory.path()).await.unwrap().local_addr().unwrap().port(), kept);
    }
}
