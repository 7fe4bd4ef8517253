//! What a driver made, and how to reach it.

use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};

/// One virtual machine as its driver remembers it. Saved in the machine's record after `create`;
/// what changes from start to start is the driver's own to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The driver's id of it: a provider's VM id, or the machine's folder for local ones.
    pub id: String,
    /// Opaque to everyone but the driver, save that a member `Driver` stands in the machine's record where
    /// docker-machine had what its drivers remember. Must stay readable by later versions of the driver.
    pub data: serde_json::Value,
}

/// What an instance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum InstanceState {
    /// Power is on (says nothing about the guest's health).
    Running,
    /// Paused by its VM monitor.
    Paused,
    /// On its way up.
    Starting,
    /// On its way down.
    Stopping,
    /// Power is off, as asked.
    Stopped,
    /// Power is off though nobody asked: the guest or its VM monitor crashed.
    Error,
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where the guest's SSH server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshEndpoint {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Account.
    pub user: String,
}

/// Which keys SSH uses. By default both pairs are those that `machine` made before `create`
/// ([`crate::Identity`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SshKeys {
    /// Private key file to log in with, where it is not the machine's own.
    pub client: Option<PathBuf>,
    /// What the SSH server must show, where it is not the key of the identity: OpenSSH public keys or
    /// fingerprints (`SHA256:…`), any of them. Empty: the identity's.
    pub host: Vec<String>,
    /// Nobody can tell the server's key: the one it shows at the first contact, right after the machine was
    /// made, is pinned and told. Only for drivers that have no way to know better.
    pub first_contact: bool,
}

/// Where the engine is, seen from the SSH server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineHome {
    /// In our guest: it comes up with it.
    #[default]
    Guest,
    /// On a host with an operating system of its own, where `machine` installs and upgrades it.
    Host,
    /// An engine that is there already, answering on this socket; it is used as it is.
    Existing(String),
}

/// How to reach a running guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Its SSH server.
    pub ssh: SshEndpoint,
    /// The address `machine ip` prints.
    pub ip: String,
    /// Unix socket of the seed channel (see `guest_contract::channel`), where the driver has one.
    /// One client at a time; may be longer than `sockaddr_un` holds.
    #[serde(default)]
    pub seed_socket: Option<PathBuf>,
    /// Its keys.
    #[serde(default)]
    pub keys: SshKeys,
    /// Its engine.
    #[serde(default)]
    pub engine: EngineHome,
}
