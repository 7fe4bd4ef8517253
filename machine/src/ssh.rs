//! SSH to a machine: keys, pinned connections, commands and shells.
//!
//! A connection is made with our key only and to the host key we know only; nothing is trusted on
//! first use. russh is named here and in `tunnel/` and nowhere else.

mod connection;
mod exec;
mod files;
pub mod keys;
mod ports;
mod session;
mod terminal;
mod trust;

pub use connection::{Connection, Connector};
pub use exec::{CHUNK, Input, LISTEN, Output, RemoteShell, whole};
pub use files::{Attributes, Files};
pub use ports::{PortForward, forward_ports};
pub use session::run_command;
pub use trust::known_hosts;

use std::{io, net::SocketAddr, time::Duration};

/// Failure to reach a machine over SSH, or while talking to it.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The machine's keys cannot be used.
    #[error("The machine's SSH keys cannot be used")]
    Keys(#[from] keys::KeyError),
    /// Nobody accepts the TCP connection.
    #[error("Could not connect to {host} port {port}")]
    Connect {
        host: String,
        port: u16,
        #[source]
        source: io::Error,
    },
    /// A local port cannot be listened on.
    #[error("Could not listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The server did not finish in time.
    #[error("{what} took longer than {} s", .limit.as_secs())]
    Timeout { what: &'static str, limit: Duration },
    /// Somebody else answers where the machine should.
    #[error(
        "The SSH server shows the host key {offered}, but this machine's is {expected}; refusing to talk to it"
    )]
    HostKey { expected: String, offered: String },
    /// Nobody knows the host key yet, and this is not the time to find out.
    #[error(
        "The machine's host key has not been pinned yet: the first contact is create's, or start's after it failed"
    )]
    Unpinned,
    /// The server does not accept our key.
    #[error("The SSH server does not accept the machine's key for user {user}")]
    Refused { user: String },
    /// The server refuses to connect a channel to the target, because nothing listens there (yet).
    #[error("Nothing listens on {target} in the machine")]
    Target { target: String },
    /// The server refuses the request itself.
    #[error("The SSH server refused {what}")]
    Denied { what: &'static str },
    /// The connection ended before the remote command did.
    #[error("The connection to the machine was lost")]
    Lost,
    /// The local terminal cannot be driven.
    #[error("Could not {action} the terminal")]
    Terminal {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    /// The SSH protocol failed.
    #[error("The SSH connection failed")]
    Protocol(#[source] russh::Error),
}

impl SshError {
    /// Whether trying again cannot help: the wrong peer, or one that does not know us.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Keys(_) | Self::HostKey { .. } | Self::Unpinned | Self::Refused { .. })
    }
}

impl From<russh::Error> for SshError {
    fn from(error: russh::Error) -> Self {
        match error {
            russh::Error::Disconnect | russh::Error::SendError | russh::Error::HUP => Self::Lost,
            other => Self::Protocol(other),
        }
    }
}
