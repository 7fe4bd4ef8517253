//! Connects to sockets in the machine's folder, however long its path is: `sockaddr_un` holds 108
//! bytes, so the way leads through an open descriptor of the folder.

use std::{fs::File, io, os::fd::AsRawFd, path::Path};
use tokio::net::UnixStream;

pub(crate) async fn connect(directory: &Path, name: &str) -> io::Result<UnixStream> {
    let folder = File::open(directory)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())).await
}
