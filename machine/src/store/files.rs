//! Every file and folder name of the store, named here and nowhere else.
//!
//! ```text
//!   $MACHINE_STORAGE_PATH/            0700
//!     certs/                          the authority and the client's certificate, as docker-machine had them
//!     store-id                        tags what is made in the cloud for this store
//!     cache/                          what can be made again: unpacked kernels
//!     machines/
//!       .creating-NAME-…/             a machine on its way in, invisible until its record is there
//!       .removing-NAME-…/             a machine on its way out; the next command finishes it
//!       NAME/                         0700, one machine
//! ```

/// Folder of the store that holds one folder per machine. Entries that start with a dot are ours.
pub const MACHINES: &str = "machines";
/// Folder of the store for what all machines share and what can be made again.
pub const CACHE: &str = "cache";
/// Folder of the store for the certificates that all machines share.
pub const CERTS: &str = "certs";
/// Locked while certificates are looked at and made.
pub const CERTS_LOCK: &str = ".lock";
/// Certificate of the authority; in the store's folder of certificates, and a copy beside each machine.
pub const CA: &str = "ca.pem";
/// Key of the authority, mode 0600.
pub const CA_KEY: &str = "ca-key.pem";
/// Certificate of the client; copied like the authority's.
pub const CERT: &str = "cert.pem";
/// Key of the client, mode 0600; copied like the authority's.
pub const CERT_KEY: &str = "key.pem";
/// File of the store with its id.
pub const STORE_ID: &str = "store-id";
/// Prefix of a machine's folder before it has its name; the name and a random part follow.
pub const CREATING_PREFIX: &str = ".creating-";
/// Prefix of a machine's folder on its way out; the machine's name and a random part follow.
pub const REMOVING_PREFIX: &str = ".removing-";

/// The machine's record (`store/record.rs`), in docker-machine's file and shape.
pub const RECORD: &str = "config.json";
/// Prefix of a file that is being written; it is renamed onto its name when it is complete.
pub const PARTIAL_PREFIX: &str = ".partial-";
/// Locked by every command that changes the machine.
pub const MACHINE_LOCK: &str = "machine.lock";

/// Our private key for the machine's SSH server, mode 0600.
pub const CLIENT_KEY: &str = "id_ed25519";
/// Its public half.
pub const CLIENT_KEY_PUB: &str = "id_ed25519.pub";
/// The machine's own SSH host key, mode 0600; the guest gets it with its seed.
pub const HOST_KEY: &str = "ssh_host_ed25519_key";
/// Its public half; what every connection is pinned to.
pub const HOST_KEY_PUB: &str = "ssh_host_ed25519_key.pub";

/// What the SSH server of a host that we did not make showed at the first contact, for drivers that cannot tell;
/// what every connection is pinned to then.
pub const PINNED_HOST_KEY: &str = "ssh_host_key.pinned.pub";

/// Held by the machine's keeper as long as it lives: there are never two.
pub const KEEPER_LOCK: &str = "keeper.lock";
/// Unix socket on which the keeper answers our own commands, mode 0600.
pub const KEEPER_SOCKET: &str = "keeper.sock";
/// What the keeper has to say; it has no terminal.
pub const KEEPER_LOG: &str = "keeper.log";
/// Unix socket on which the keeper serves the machine's Engine API, mode 0600.
pub const API_SOCKET: &str = "docker.sock";

/// Certificate of the machine's TLS endpoint.
pub const SERVER_CERT: &str = "server.pem";
/// Its key, mode 0600.
pub const SERVER_KEY: &str = "server-key.pem";
/// Prefix of the numbers that a mount in the guest has for a shared folder's files; the folder's place in the
/// record and the mount's id follow.
pub const NODES_PREFIX: &str = "folder-nodes-";
/// TCP port of the machine's TLS endpoint; written by its keeper, kept from one to the next.
pub const TLS_PORT: &str = "docker.port";
/// The machine's host key as `sshfs` reads it; written when it is started.
pub const KNOWN_HOSTS: &str = "known_hosts";
