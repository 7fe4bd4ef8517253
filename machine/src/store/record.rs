//! The machine's record: `config.json` in the shape of docker-machine's version 3, so that what reads
//! its records reads ours, with everything we go by in one object of our own, `Machine`.
//!
//! A record without `Machine` was written by docker-machine: it is listed and shown, never rewritten.

use super::files;
use crate::{
    certificates::CertificateFiles,
    machine::{MachineId, MachineName},
};
use guest_contract::{folders::SharedFolder, seed::EngineSettings};
use machine_drivers::Instance;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// docker-machine's `ConfigVersion` that we write.
const CONFIG_VERSION: u64 = 3;
/// Version of [`OwnPart`]; raised when an older `machine` must not touch a record any more.
const MACHINE_VERSION: u64 = 1;

/// One machine as the store remembers it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its name; also its folder's.
    pub name: MachineName,
    /// The driver's name, which may be unknown to us.
    pub driver: String,
    /// Who keeps it.
    pub part: Part,
}

/// Whose machine it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Ours.
    Own(Box<OwnPart>),
    /// docker-machine's: the document as found.
    Foreign(Value),
}

/// What we know of a machine of ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OwnPart {
    /// `MACHINE_VERSION` of the writer.
    version: u64,
    /// Its identity.
    #[serde(rename = "ID")]
    pub id: MachineId,
    /// How far it has come.
    pub state: Stage,
    /// When `create` was called.
    pub created: jiff::Timestamp,
    /// What was asked for.
    pub request: Request,
    /// What the driver made of it; absent until it has.
    pub instance: Option<Instance>,
    /// Where it was reached last.
    pub address: Option<Address>,
    /// Settings of the engine, given to the guest with every boot.
    pub engine: EngineSettings,
    /// Its TLS endpoint.
    #[serde(default, rename = "TLS")]
    pub tls: TlsPart,
}

/// What was asked of the TLS endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TlsPart {
    /// More names and addresses for the certificate.
    pub hosts: Vec<String>,
    /// The store's certificates, when they are not where they are by default.
    pub files: Option<CertificateFiles>,
}

/// How far a machine has come. Power is not in here: only the driver knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// `create` is at work, or was interrupted: nobody holds the machine's lock.
    Creating,
    /// The machine is there, and `start`, `stop` and the others apply.
    Created,
    /// `rm` is at work, or was interrupted; only `rm` applies.
    Removing,
}

/// The general part of what `create` was asked for. The driver's options are not kept: they may hold
/// credentials, and what must survive is in the instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Request {
    /// The guest image, for drivers that boot it.
    pub image: Option<PathBuf>,
    /// Virtual CPUs.
    pub cpus: Option<u32>,
    /// Memory in MiB.
    #[serde(rename = "MemoryMiB")]
    pub memory_mib: Option<u64>,
    /// Data disk in GiB.
    #[serde(rename = "DiskGiB")]
    pub disk_gib: Option<u64>,
    /// Folders of this computer that the machine sees.
    #[serde(default)]
    pub folders: Vec<SharedFolder>,
}

/// Where a machine was reached last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Address {
    /// What `machine ip` prints.
    pub ip: String,
    /// Host of its SSH server.
    pub ssh_host: String,
    /// TCP port of its SSH server.
    pub ssh_port: u16,
    /// Account.
    pub ssh_user: String,
}

/// A record that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not JSON, or not a record.
    #[error("The record is damaged")]
    Damaged(#[source] serde_json::Error),
    /// Written by a later version.
    #[error("The record has version {found}, and this machine reads up to {known}: a newer machine wrote it")]
    Newer { found: u64, known: u64 },
}

// === impl Record ===

impl Record {
    /// A machine that is about to be made.
    pub fn new(
        name: MachineName,
        driver: &str,
        id: MachineId,
        request: Request,
        engine: EngineSettings,
        tls: TlsPart,
    ) -> Self {
        let part = OwnPart {
            version: MACHINE_VERSION,
            id,
            state: Stage::Creating,
            created: jiff::Timestamp::now(),
            request,
            instance: None,
            address: None,
            engine,
            tls,
        };
        Self { name, driver: driver.to_owned(), part: Part::Own(Box::new(part)) }
    }

    /// Our part, when the machine is ours.
    pub fn own(&self) -> Option<&OwnPart> {
        match &self.part {
            Part::Own(part) => Some(part),
            Part::Foreign(_) => None,
        }
    }

    /// The whole document, when docker-machine made the machine.
    pub fn foreign(&self) -> Option<&Value> {
        match &self.part {
            Part::Own(_) => None,
            Part::Foreign(document) => Some(document),
        }
    }

    /// Our part, to change it.
    pub fn own_mut(&mut self) -> Option<&mut OwnPart> {
        match &mut self.part {
            Part::Own(part) => Some(part),
            Part::Foreign(_) => None,
        }
    }

    /// Reads `text`, the record in the folder of `name`.
    pub fn parse(name: &MachineName, text: &[u8]) -> Result<Self, RecordError> {
        let mut document: Value = serde_json::from_slice(text).map_err(RecordError::Damaged)?;
        let version = document.get("ConfigVersion").and_then(Value::as_u64).unwrap_or(0);
        if version > CONFIG_VERSION {
            return Err(RecordError::Newer { found: version, known: CONFIG_VERSION });
        }
        let driver = document.get("DriverName").and_then(Value::as_str).unwrap_or_default().to_owned();
        let part = match document.get_mut("Machine").map(Value::take) {
            None => Part::Foreign(document),
            Some(own) => {
                // Before the rest: a newer writer may have changed its shape.
                let version = own.get("Version").and_then(Value::as_u64).unwrap_or(0);
                if version > MACHINE_VERSION {
                    return Err(RecordError::Newer { found: version, known: MACHINE_VERSION });
                }
                Part::Own(serde_json::from_value(own).map_err(RecordError::Damaged)?)
            }
        };
        Ok(Self { name: name.clone(), driver, part })
    }

    /// The whole document as it stands in the file, `store` being the store's folder.
    pub fn document(&self, store: &Path) -> Value {
        let own = match &self.part {
            Part::Own(own) => own,
            Part::Foreign(document) => return document.clone(),
        };
        let folder = store.join(files::MACHINES).join(self.name.as_str());
        let certificates = own.tls.files.clone().unwrap_or_else(|| CertificateFiles::in_store(store));
        let address = own.address.as_ref();
        // docker-machine's plugins have their own, which docker-machine goes on with.
        let plugins = own.instance.as_ref().and_then(|instance| instance.data.get("Driver"));
        let driver = plugins.cloned().unwrap_or_else(|| {
            json!({
                "IPAddress": address.map_or("", |a| &a.ip),
                "MachineName": self.name,
                "SSHUser": address.map_or(guest_contract::paths::SSH_USER, |a| &a.ssh_user),
                "SSHPort": address.map_or(guest_contract::paths::SSH_PORT, |a| a.ssh_port),
                "SSHKeyPath": folder.join(files::CLIENT_KEY),
                "StorePath": store,
                "SwarmMaster": false,
                "SwarmHost": "",
                "SwarmDiscovery": "",
                "CPU": own.request.cpus.unwrap_or(0),
                "Memory": own.request.memory_mib.unwrap_or(0),
            })
        });
        json!({
            "ConfigVersion": CONFIG_VERSION,
            "Driver": driver,
            "DriverName": self.driver,
            "HostOptions": {
                "Driver": "",
                "Memory": 0,
                "Disk": 0,
                "EngineOptions": {
                    "ArbitraryFlags": [],
                    "Dns": null,
                    "GraphDir": "",
                    "Env": own.engine.env,
                    "Ipv6": false,
                    "InsecureRegistry": own.engine.insecure_registries,
                    "Labels": own.engine.labels,
                    "LogLevel": "",
                    "StorageDriver": "",
                    "SelinuxEnabled": false,
                    "TlsVerify": true,
                    "RegistryMirror": own.engine.registry_mirrors,
                    "InstallURL": "",
                },
                "SwarmOptions": swarm_options(),
                "AuthOptions": {
                    "CertDir": certificates.authority.parent(),
                    "CaCertPath": certificates.authority,
                    "CaPrivateKeyPath": certificates.authority_key,
                    "CaCertRemotePath": "",
                    "ServerCertPath": folder.join(files::SERVER_CERT),
                    "ServerKeyPath": folder.join(files::SERVER_KEY),
                    "ClientKeyPath": certificates.client_key,
                    "ServerCertRemotePath": "",
                    "ServerKeyRemotePath": "",
                    "ClientCertPath": certificates.client,
                    "ServerCertSANs": own.tls.hosts,
                    "StorePath": folder,
                },
            },
            "Name": self.name,
            "Machine": own,
        })
    }
}

/// docker-machine's, of a machine in no Swarm.
fn swarm_options() -> Value {
    json!({
        "IsSwarm": false,
        "Address": "",
        "Discovery": "",
        "Agent": true,
        "Master": false,
        "Host": "tcp://0.0.0.0:3376",
        "Image": "swarm:latest",
        "Strategy": "spread",
        "Heartbeat": 0,
        "Overcommit": 0,
        "ArbitraryFlags": [],
        "ArbitraryJoinFlags": [],
        "Env": null,
        "IsExperimental": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let request = Request { cpus: Some(2), ..Request::default() };
        let engine = EngineSettings { labels: vec!["a=b".to_owned()], ..EngineSettings::default() };
        Record::new(
            "dev".parse().unwrap(),
            "kvm",
            MachineId::draw().unwrap(),
            request,
            engine,
            TlsPart::default(),
        )
    }

    #[test]
    fn what_is_written_is_read() {
        let mut record = record();
        let own = record.own_mut().unwrap();
        own.state = Stage::Created;
        own.instance = Some(Instance { id: "x".to_owned(), data: json!({ "disk": 20 }) });
        let text = serde_json::to_vec(&record.document(Path::new("/store"))).unwrap();
        assert_eq!(Record::parse(&record.name, &text).unwrap(), record);
    }

    #[test]
    fn docker_machines_fields_are_where_its_readers_look() {
        let document = record().document(Path::new("/store"));
        assert_eq!(document["ConfigVersion"], 3);
        assert_eq!(document["HostOptions"]["AuthOptions"]["StorePath"], "/store/machines/dev");
        assert_eq!(document["Driver"]["StorePath"], "/store");
        assert_eq!(document["HostOptions"]["EngineOptions"]["Labels"], json!(["a=b"]));
    }

    #[test]
    fn a_record_of_docker_machine_is_read_and_kept_as_it_is() {
        let theirs =
            json!({ "ConfigVersion": 3, "Driver": { "X": 1 }, "DriverName": "virtualbox", "Name": "old" });
        let record = Record::parse(&"old".parse().unwrap(), theirs.to_string().as_bytes()).unwrap();
        assert_eq!((record.driver.as_str(), record.own()), ("virtualbox", None));
        assert_eq!(record.document(Path::new("/store")), theirs);
    }

    #[test]
    fn newer_records_are_refused_and_damaged_ones_too() {
        let name = "dev".parse().unwrap();
        let newer =
            |text: &str| matches!(Record::parse(&name, text.as_bytes()), Err(RecordError::Newer { .. }));
        assert!(newer(r#"{"ConfigVersion":4}"#));
        assert!(newer(r#"{"ConfigVersion":3,"Machine":{"Version":2,"State":"Frozen"}}"#));
        for text in ["", "{", "{\"ConfigVersion\":3,\"Machine\":{\"Version\":1}}"] {
            assert!(matches!(Record::parse(&name, text.as_bytes()), Err(RecordError::Damaged(_))), "{text}");
        }
    }
}
