//! The command line of the engine.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// The engine of a machine.
#[derive(Debug, Parser)]
#[command(name = "machine-engine", version, about)]
pub struct Arguments {
    /// Log to this file and, of the same size at most, FILE.1, instead of to standard error
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

/// What this one binary can be.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the Docker Engine API
    Serve(ServeOptions),
    /// Show folders of the user's computer
    #[command(hide = true)]
    Folders(crate::folders::Options),
    /// Carry standard input and output to a socket
    #[command(hide = true)]
    Dial {
        /// Path of a unix socket, or an address with a port
        #[arg(value_name = "PATH|ADDRESS")]
        target: String,
    },
    /// Serve SSH inside a guest
    #[command(hide = true)]
    Sshd(crate::sshd::Options),
}

/// How to serve.
#[derive(Debug, Args)]
pub struct ServeOptions {
    /// Unix socket to listen on
    #[arg(long, value_name = "PATH", default_value = guest_contract::paths::ENGINE_SOCKET)]
    pub socket: PathBuf,
    /// Account that may use the socket besides root
    #[arg(long, value_name = "UID")]
    pub owner: Option<u32>,
    /// Group that may use the socket besides its owner
    #[arg(long, value_name = "NAME|GID")]
    pub group: Option<String>,
    /// Folder for everything that outlives a boot
    #[arg(long, value_name = "DIR", default_value = guest_contract::paths::DATA_ROOT)]
    pub data_root: PathBuf,
    /// Folder for what must not outlive a boot
    #[arg(long, value_name = "DIR", default_value = guest_contract::paths::RUN_ROOT)]
    pub run_root: PathBuf,
    /// Pipe whose other end is closed when the data root is there and the engine may begin
    #[arg(long, value_name = "N")]
    pub begin_fd: Option<i32>,
    /// Descriptor that gets one byte once the API answers
    #[arg(long, value_name = "N")]
    pub ready_fd: Option<i32>,
    /// Stop all containers when the engine is told to end; otherwise they go on without it
    #[arg(long)]
    pub stop_containers_on_exit: bool,
    /// Interface name of the default bridge [default: docker0]
    #[arg(long, value_name = "NAME")]
    pub bridge: Option<String>,
    /// Label shown by "docker info"
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// Registry to be spoken to without TLS verification
    #[arg(long = "insecure-registry", value_name = "HOST|CIDR")]
    pub insecure_registries: Vec<String>,
    /// Mirror of Docker Hub
    #[arg(long = "registry-mirror", value_name = "URL")]
    pub registry_mirrors: Vec<String>,
    /// Folder of registries' own certificates: HOST[:PORT]/*.crt, *.cert and *.key
    #[arg(long, value_name = "DIR", default_value = "/etc/docker/certs.d")]
    pub registry_certs: PathBuf,
    /// How long a registry may send nothing before the connection is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub registry_timeout: u64,
}
