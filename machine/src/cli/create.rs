//! The options of `create`: ours, docker-machine's, and those of docker-machine that mean nothing any more.

use super::sizes::{gibibytes, mebibytes};
use clap::Args;
use std::path::PathBuf;

/// `create`; the drivers add their options
#[derive(Clone, Debug, Args)]
// What a template says comes first and is overridden by what is typed.
#[command(args_override_self = true)]
pub struct Create {
    /// Name of the new machine
    pub name: String,
    /// Driver that makes it [env: MACHINE_DRIVER=] [default: kvm]
    #[arg(short, long)]
    pub driver: Option<String>,
    /// Virtual CPUs
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<u32>,
    /// Memory in MiB, or with a unit: 2g
    #[arg(long, value_name = "SIZE", value_parser = mebibytes)]
    pub memory: Option<u64>,
    /// Data disk in GiB
    #[arg(long, value_name = "SIZE", value_parser = gibibytes)]
    pub disk: Option<u64>,
    /// Folder of this computer that the machine sees at the same path; with ":ro", to read only (repeatable)
    /// [default: the home folder, for local machines]
    #[arg(long, value_name = "PATH[:ro]")]
    pub mount: Vec<String>,
    /// Let the machine see no folders of this computer
    #[arg(long)]
    pub no_mount: bool,
    /// Folder of the guest image [env: MACHINE_GUEST_IMAGE=]
    #[arg(long, value_name = "DIR")]
    pub image: Option<PathBuf>,
    /// Label of the engine (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub engine_label: Vec<String>,
    /// Environment variable of the engine (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub engine_env: Vec<String>,
    /// Option of dockerd, such as log-level=debug; those the engine does not have are refused (repeatable)
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub engine_opt: Vec<String>,
    /// Storage driver of the engine; there is overlay2 only
    #[arg(long, value_name = "NAME")]
    pub engine_storage_driver: Option<String>,
    /// Not used: a machine brings its own engine
    #[arg(long, value_name = "URL", hide = true)]
    pub engine_install_url: Option<String>,
    /// Mirror of Docker Hub (repeatable) [env: ENGINE_REGISTRY_MIRROR=]
    #[arg(long, value_name = "URL")]
    pub engine_registry_mirror: Vec<String>,
    /// Registry to speak to without verified TLS (repeatable)
    #[arg(long, value_name = "HOST[:PORT]")]
    pub engine_insecure_registry: Vec<String>,
    /// Use the options of this template in the configuration file; what is typed goes before them
    #[arg(long, value_name = "NAME")]
    pub template: Option<String>,
    /// Do not give the machine this computer's proxies and added certificate authorities
    #[arg(long)]
    pub no_inherit: bool,
    /// Start the machine with this computer, by a unit of the user's systemd
    #[arg(long)]
    pub autostart: bool,
    /// Another name or address by which the machine is reached over TLS (repeatable)
    #[arg(long, value_name = "NAME")]
    pub tls_san: Vec<String>,
    /// Keep what is there when creating fails
    #[arg(long)]
    pub keep_on_error: bool,
    /// The old Swarm
    #[command(flatten)]
    pub swarm: LegacySwarm,
    /// The old default driver
    #[command(flatten)]
    pub virtualbox: VirtualBox,
}

/// The Swarm that docker-machine set up: accepted by the parser so that the refusal can say why
#[derive(Clone, Debug, Args)]
pub struct LegacySwarm {
    #[arg(long, hide = true)]
    swarm: bool,
    #[arg(long, hide = true)]
    swarm_image: Option<String>,
    #[arg(long, hide = true)]
    swarm_master: bool,
    #[arg(long, hide = true)]
    swarm_discovery: Option<String>,
    #[arg(long, hide = true)]
    swarm_strategy: Option<String>,
    #[arg(long, hide = true)]
    swarm_opt: Vec<String>,
    #[arg(long, hide = true)]
    swarm_join_opt: Vec<String>,
    #[arg(long, hide = true)]
    swarm_host: Option<String>,
    #[arg(long, hide = true)]
    swarm_addr: Option<String>,
    #[arg(long, hide = true)]
    swarm_experimental: bool,
}

impl LegacySwarm {
    /// Whether a Swarm was asked for. The options that only describe one ask for nothing.
    pub fn is_asked_for(&self) -> bool {
        self.swarm || self.swarm_master || self.swarm_discovery.is_some()
    }
}

/// docker-machine's old default driver, which ours stands in for; its other options say nothing about a machine
#[derive(Clone, Debug, Default, Args)]
pub struct VirtualBox {
    #[arg(long, hide = true)]
    pub(crate) virtualbox_memory: Option<u64>,
    #[arg(long, hide = true, allow_negative_numbers = true)]
    pub(crate) virtualbox_cpu_count: Option<i32>,
    #[arg(long, hide = true)]
    pub(crate) virtualbox_disk_size: Option<u64>,
    #[arg(long, hide = true)]
    pub(crate) virtualbox_boot2docker_url: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) virtualbox_hostonly_cidr: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) virtualbox_no_share: bool,
    #[arg(long, hide = true)]
    pub(crate) virtualbox_share_folder: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) virtualbox_no_vtx_check: bool,
}
