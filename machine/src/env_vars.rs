//! Every environment variable that `machine` reads or tells shells to set.

/// Folder of the store; `--storage-path` goes before it. Default: `~/.docker/machine`.
pub const STORAGE_PATH: &str = "MACHINE_STORAGE_PATH";
/// Driver of `create`; `--driver` goes before it. Default: `kvm`.
pub const DRIVER: &str = "MACHINE_DRIVER";
/// Folder of the guest image; `--image` goes before it. Default: beside the executable.
pub const GUEST_IMAGE: &str = "MACHINE_GUEST_IMAGE";
/// The engine's binary that is put on hosts. Default: beside the executable, as it is built or installed.
pub const ENGINE: &str = "MACHINE_ENGINE_BINARY";
/// Mirrors of Docker Hub for the engine, separated by commas, besides `--engine-registry-mirror`.
pub const REGISTRY_MIRROR: &str = "ENGINE_REGISTRY_MIRROR";
/// What the keeper and `--debug` log, in the syntax of `tracing`: `info`, `machine=debug`.
pub const LOG: &str = "MACHINE_LOG";

/// Certificate of the authority of new machines; `--tls-ca-cert` goes before it.
pub const TLS_CA_CERT: &str = "MACHINE_TLS_CA_CERT";
/// Its key.
pub const TLS_CA_KEY: &str = "MACHINE_TLS_CA_KEY";
/// Certificate of the client of new machines.
pub const TLS_CLIENT_CERT: &str = "MACHINE_TLS_CLIENT_CERT";
/// Its key.
pub const TLS_CLIENT_KEY: &str = "MACHINE_TLS_CLIENT_KEY";

/// The machine a shell is set to, told by `machine env`; not read.
pub const NAME: &str = "MACHINE_NAME";
/// Where Docker clients find the engine: told by `machine env`, read by `machine active`.
pub const DOCKER_HOST: &str = "DOCKER_HOST";
/// Context of the docker CLI, when it is not the chosen one: read by `machine active`.
pub const DOCKER_CONTEXT: &str = "DOCKER_CONTEXT";
/// Folder of the docker CLI's settings and contexts. Default: `~/.docker`.
pub const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// TLS for Docker clients; `machine env` unsets it unless it is asked for `--tcp`.
pub const DOCKER_TLS_VERIFY: &str = "DOCKER_TLS_VERIFY";
/// Hosts that are reached without a proxy; `machine env --no-proxy` adds the machine's address.
pub const NO_PROXY: &str = "NO_PROXY";
/// The same as other programs spell it.
pub const NO_PROXY_LOWER: &str = "no_proxy";
/// Folder of the certificates; `machine env` unsets it unless it is asked for `--tcp`.
pub const DOCKER_CERT_PATH: &str = "DOCKER_CERT_PATH";

/// The configuration file. Default: `machine/config.toml` in the folder of configuration.
pub const CONFIG: &str = "MACHINE_CONFIG";
/// The folder of configuration. Default: `~/.config`.
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Where what is needed for a moment is. Default: `/tmp`.
pub const TMPDIR: &str = "TMPDIR";
/// Where programs are.
pub const PATH: &str = "PATH";
/// The user's home folder.
pub const HOME: &str = "HOME";
/// The user's shell, for `machine env` without `--shell`.
pub const SHELL: &str = "SHELL";
/// Any value turns colours off (no-color.org).
pub const NO_COLOR: &str = "NO_COLOR";
