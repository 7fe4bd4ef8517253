//! `generic`: a host that is there already and lets us in by SSH.
//!
//! The host is lent: it is neither made, nor switched on or off, nor removed. Power means the engine's
//! service on it, which `machine` starts and stops over SSH; this driver remembers which is wanted.
//!
//! **Whom we talk to is known before the first connection**: its host key is named with
//! `--generic-ssh-host-key`, or stands in the user's `known_hosts` because the user has been there. A host
//! that neither tells of is refused, with the command that shows its key. Nothing is trusted on first use.

use crate::{files, known_hosts, settings};
use async_trait::async_trait;
use machine_drivers::{
    Access, Capabilities, Driver, DriverError, EngineHome, Instance, InstanceState, MachineSpec, OptionSpec,
    OptionValue, Progress, SshEndpoint, SshKeys,
};
use serde::{Deserialize, Serialize};
use settings::Settings;
use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};

/// The driver's only file in the machine's folder.
const FILE: &str = "generic.json";
/// A host that is there accepts far sooner.
const LOOK: Duration = Duration::from_secs(4);
/// The user's keys that are tried when none is named, best first.
const KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];
/// Where SSH remembers hosts, besides the user's folder.
const SYSTEM_KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts";

static OPTIONS: &[OptionSpec] = &[
    OptionSpec::text("generic-ip-address", "Address or name of the host").env("GENERIC_IP_ADDRESS"),
    OptionSpec::text(
        "generic-ssh-user",
        "Account on the host; must be root or become root by sudo or doas without a password",
    )
    .env("GENERIC_SSH_USER")
    .or("root"),
    OptionSpec::text(
        "generic-ssh-key",
        "Private key file that lets us in, without passphrase (default: the first of ~/.ssh/id_ed25519, \
               id_ecdsa, id_rsa)",
    )
    .env("GENERIC_SSH_KEY"),
    OptionSpec::number("generic-ssh-port", "TCP port of the host's SSH server")
        .env("GENERIC_SSH_PORT")
        .or_number(22),
    OptionSpec::list(
        "generic-ssh-host-key",
        "The host's public key (ssh-ed25519 AAAA…) or its fingerprint (SHA256:…), any of several \
               (default: what known_hosts says)",
    )
    .env("GENERIC_SSH_HOST_KEY"),
    OptionSpec::text(
        "generic-engine-socket",
        "Use the engine that answers on this socket of the host, such as /var/run/docker.sock, and \
               install none",
    )
    .env("GENERIC_ENGINE_SOCKET"),
    OptionSpec::number("generic-engine-port", "Accepted for docker-machine's sake: the engine has no port")
        .env("GENERIC_ENGINE_PORT"),
];

/// The driver.
#[derive(Debug)]
pub struct GenericDriver {
    home: Option<PathBuf>,
}

/// [`FILE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Host {
    machine_id: String,
    host: String,
    port: u16,
    user: String,
    client_key: PathBuf,
    host_keys: Vec<String>,
    engine_socket: Option<String>,
    /// Its engine is wanted.
    on: bool,
}

impl GenericDriver {
    /// Reads keys and known hosts of the user who runs this process.
    pub fn new() -> Self {
        Self { home: std::env::home_dir() }
    }

    /// Reads them in another home folder.
    pub fn with_home(home: PathBuf) -> Self {
        Self { home: Some(home) }
    }

    fn host(&self, spec: &MachineSpec) -> Result<Host, DriverError> {
        settings::check_sizes(spec, "the host is as large as it is")?;
        let settings = Settings::new(OPTIONS, &spec.options);
        let host = &canonical(settings.required("generic-ip-address")?);
        let port = settings.port("generic-ssh-port")?;
        let engine_socket = settings.text("generic-engine-socket").map(str::to_owned);
        if let Some(socket) = engine_socket.as_deref().filter(|socket| !socket.starts_with('/')) {
            return Err(DriverError::InvalidSpec(format!(
                "--generic-engine-socket takes an absolute path, not {socket:?}"
            )));
        }
        Ok(Host {
            machine_id: spec.machine_id.clone(),
            host_keys: self.host_keys(spec, host, port)?,
            client_key: self.client_key(settings.text("generic-ssh-key"))?,
            host: host.to_owned(),
            port,
            user: settings.text("generic-ssh-user").unwrap_or("root").to_owned(),
            engine_socket,
            on: false,
        })
    }

    fn host_keys(&self, spec: &MachineSpec, host: &str, port: u16) -> Result<Vec<String>, DriverError> {
        if let Some(OptionValue::List(keys)) = spec.options.get("generic-ssh-host-key") {
            return Ok(keys.iter().map(|key| key.trim().to_owned()).collect());
        }
        let users = self.home.iter().map(|home| home.join(".ssh/known_hosts"));
        let files = users.chain([PathBuf::from(SYSTEM_KNOWN_HOSTS)]);
        let keys: Vec<String> = files
            .filter_map(|file| fs::read_to_string(file).ok())
            .flat_map(|text| known_hosts::keys(&text, host, port))
            .collect();
        if keys.is_empty() {
            let port = if port == 22 { String::new() } else { format!("-p {port} ") };
            return Err(DriverError::Prerequisite {
                what: format!("The host key of {host} is not known, and is not trusted unseen"),
                hint: format!(
                    "Connect once with ssh, or pass --generic-ssh-host-key SHA256:… after comparing it with what \
                     \"ssh-keyscan {port}{host} | ssh-keygen -lf -\" shows"
                ),
            });
        }
        Ok(keys)
    }

    fn client_key(&self, named: Option<&str>) -> Result<PathBuf, DriverError> {
        if let Some(named) = named {
            let path = std::path::absolute(named).unwrap_or_else(|_| PathBuf::from(named));
            return match fs::File::open(&path) {
                Ok(_) => Ok(path),
                Err(source) => Err(DriverError::File {
                    action: "read the key",
                    path: path.display().to_string(),
                    source,
                }),
            };
        }
        let home = self.home.clone().unwrap_or_default();
        KEYS.iter().map(|key| home.join(".ssh").join(key)).find(|path| path.is_file()).ok_or_else(|| {
            DriverError::Prerequisite {
                what: "There is no SSH key to log in with".to_owned(),
                hint: "Name one with --generic-ssh-key".to_owned(),
            }
        })
    }
}

impl Default for GenericDriver {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Driver for GenericDriver {
    fn name(&self) -> &'static str {
        "generic"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { borrowed_host: true, ..Capabilities::default() }
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    async fn check(&self, spec: &MachineSpec) -> Result<Vec<String>, DriverError> {
        let host = self.host(spec)?;
        let address = (host.host.as_str(), host.port);
        match timeout(LOOK, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                return Err(DriverError::Prerequisite {
                    what: format!("Nobody answers at {} port {}: {error}", host.host, host.port),
                    hint: String::new(),
                });
            }
            Err(_) => {
                let what = format!("Connecting to {} port {}", host.host, host.port);
                return Err(DriverError::Timeout { what, limit: LOOK });
            }
        }
        let mut remarks = Vec::new();
        if spec.options.contains_key("generic-engine-port") {
            remarks.push("--generic-engine-port is not used: the engine is reached over SSH".to_owned());
        }
        Ok(remarks)
    }

    async fn create(&self, spec: &MachineSpec, _progress: &dyn Progress) -> Result<Instance, DriverError> {
        let instance = instance(&spec.directory);
        match load(&instance) {
            Ok(host) if host.machine_id == spec.machine_id => return Ok(instance),
            Ok(_) | Err(DriverError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        files::save(&spec.directory, FILE, &self.host(spec)?)?;
        Ok(instance)
    }

    async fn recover(&self, directory: &Path, machine_id: &str) -> Result<Option<Instance>, DriverError> {
        let found: Option<Host> = files::load(directory, FILE)?;
        Ok(found.filter(|host| host.machine_id == machine_id).map(|_| instance(directory)))
    }

    async fn start(&self, instance: &Instance, _progress: &dyn Progress) -> Result<(), DriverError> {
        switch(instance, true)
    }

    async fn stop(&self, instance: &Instance, _grace: Duration) -> Result<(), DriverError> {
        switch(instance, false)
    }

    async fn kill(&self, instance: &Instance) -> Result<(), DriverError> {
        switch(instance, false)
    }

    async fn remove(&self, instance: &Instance) -> Result<(), DriverError> {
        files::remove(Path::new(&instance.id), FILE)
    }

    async fn state(&self, instance: &Instance) -> Result<InstanceState, DriverError> {
        let host = load(instance)?;
        if !host.on {
            return Ok(InstanceState::Stopped);
        }
        let reached = timeout(LOOK, TcpStream::connect((host.host.as_str(), host.port))).await;
        Ok(if matches!(reached, Ok(Ok(_))) { InstanceState::Running } else { InstanceState::Error })
    }

    async fn access(&self, instance: &Instance) -> Result<Access, DriverError> {
        let host = load(instance)?;
        if !host.on {
            return Err(DriverError::NotRunning { id: instance.id.clone() });
        }
        Ok(Access {
            ip: host.host.clone(),
            ssh: SshEndpoint { host: host.host, port: host.port, user: host.user },
            seed_socket: None,
            keys: SshKeys { client: Some(host.client_key), host: host.host_keys, ..SshKeys::default() },
            engine: host.engine_socket.map_or(EngineHome::Host, EngineHome::Existing),
        })
    }

    async fn console_tail(&self, instance: &Instance, _lines: usize) -> Result<Vec<String>, DriverError> {
        load(instance).map(|_| Vec::new())
    }
}

/// A name, or an address as SSH writes it down: with a port it stands in brackets, and IPv6 has many ways to write it.
fn canonical(host: &str) -> String {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().map_or_else(|_| bare.to_owned(), |address| address.to_string())
}

fn instance(directory: &Path) -> Instance {
    Instance { id: directory.display().to_string(), data: serde_json::json!({}) }
}

fn load(instance: &Instance) -> Result<Host, DriverError> {
    files::load(Path::new(&instance.id), FILE)?
        .ok_or_else(|| DriverError::NotFound { id: instance.id.clone() })
}

fn switch(instance: &Instance, on: bool) -> Result<(), DriverError> {
    let host = load(instance)?;
    if host.on == on {
        return Ok(());
    }
    files::save(Path::new(&instance.id), FILE, &Host { on, ..host })
}
