//! The guest's SSH server, the only way into a machine: public keys only, one account. Serves
//! shells, commands, SFTP, forwarded sockets, and Docker's own `docker system dial-stdio`.
//!
//! ```text
//!   accept ─▶ login (10 s, few at a time) ─▶ connection ─┬▶ session: shell · exec · sftp · dial-stdio
//!                                                        └▶ direct-tcpip · direct-streamlocal
//! ```

mod authorized_keys;
mod command;
mod connection;
mod forward;
mod listener;
mod process;
mod pty;
mod relay;
mod session;
mod sftp;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::TcpListener;

pub use listener::serve;

/// The options of `machine-engine sshd`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0:22")]
    pub listen: SocketAddr,
    /// Private host key in OpenSSH format
    #[arg(long, value_name = "FILE")]
    pub host_key: PathBuf,
    /// Who may log in, one public key a line; read again for each connection
    #[arg(long, value_name = "FILE")]
    pub authorized_keys: PathBuf,
    /// The engine's socket, for "docker system dial-stdio"
    #[arg(long, value_name = "PATH", default_value = guest_contract::paths::ENGINE_SOCKET)]
    pub engine_socket: PathBuf,
    /// Descriptor that gets one byte once the server listens
    #[arg(long, value_name = "N")]
    pub ready_fd: Option<i32>,
}

/// Where sessions begin: this process's own home, which init sees to.
fn home() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    if home.is_dir() { home } else { PathBuf::from("/") }
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum SshdError {
    #[error("Could not read the host key {path}")]
    HostKey { path: PathBuf, source: russh::keys::Error },
    #[error("Could not listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("Could not report that the server is ready")]
    Ready(#[source] io::Error),
    #[error("Could not start the runtime")]
    Runtime(#[source] io::Error),
}

/// Serves until the process is ended. Starts its own runtime: call it from a plain `main`.
pub fn run(options: Options) -> Result<(), SshdError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(SshdError::Runtime)?;
    runtime.block_on(async {
        let host_key = russh::keys::load_secret_key(&options.host_key, None)
            .map_err(|source| SshdError::HostKey { path: options.host_key.clone(), source })?;
        let listen = |source| SshdError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        if let Some(fd) = options.ready_fd {
            crate::ready::tell(fd).map_err(SshdError::Ready)?;
        }
        serve(listener, host_key, options).await;
        Ok(())
    })
}
