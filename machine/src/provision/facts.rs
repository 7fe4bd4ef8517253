//! What the probe tells of a host, and whether an engine can live there.

use super::{folders, service::Installation};
use guest_contract::{folders::SharedFolder, host};
use std::collections::BTreeMap;

/// What is free on the host's disk at the very least, in KiB.
const LEAST_SPACE: u64 = 512 * 1024;

/// A host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// How it became root: `root` (no need), `sudo`, `doas` or `no`.
    become_root: String,
    /// Number of the account we log in as.
    pub(super) uid: u32,
    /// `uname -m`.
    pub arch: String,
    /// What starts services.
    pub init: Option<Init>,
    /// os-release's `PRETTY_NAME`, or its `ID`.
    pub os: String,
    cgroup: String,
    overlay: bool,
    library: Option<String>,
    free_kib: Option<u64>,
    selinux: bool,
    tools: Vec<String>,
    engines: Vec<String>,
    firewalls: Vec<String>,
    fuse: bool,
    /// Folders of the user's that would hide something of the host's, by their place in the list.
    covered: Vec<usize>,
    /// The machine this host belongs to.
    pub owner: Option<String>,
    /// File name of the engine that is installed.
    pub engine: Option<String>,
    settings: Option<String>,
    /// File names of the engines that are there, whole, in `library`.
    binaries: Vec<String>,
    active: bool,
}

/// What starts services on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Init {
    /// systemd.
    Systemd,
    /// OpenRC.
    OpenRc,
    /// Something else, by the name of PID 1.
    Other(String),
}

/// The host is no place for an engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The account may not become root.
    #[error("The account {user:?} may not become root without a password: neither sudo nor doas lets it")]
    NotRoot { user: String },
    /// Neither systemd nor OpenRC.
    #[error("Services are started by {init:?} there; systemd and OpenRC are known")]
    Init { init: String },
    /// No overlayfs.
    #[error("The kernel has no overlayfs")]
    Overlay,
    /// No control groups.
    #[error("No control groups are mounted")]
    Cgroup,
    /// Too little space.
    #[error("/var/lib has only {free_mib} MiB free")]
    Space { free_mib: u64 },
    /// Read-only everywhere.
    #[error("None of /usr/local/lib, /opt and /var/lib can be written")]
    ReadOnly,
    /// No FUSE.
    #[error(
        "Folders of this computer cannot be shown there: the kernel has no FUSE (module fuse); without --mount none is \
         needed"
    )]
    Fuse,
    /// The host has something at a folder's path.
    #[error(
        "{path} cannot be shown on the host, which has something of its own there: move that away, or share another folder"
    )]
    Covered { path: String },
}

impl Init {
    /// Its word in our scripts.
    pub fn name(&self) -> &str {
        match self {
            Self::Systemd => "systemd",
            Self::OpenRc => "openrc",
            Self::Other(name) => name,
        }
    }

    /// Where the service's file goes.
    pub(super) fn service_file(&self) -> Option<&'static str> {
        match self {
            Self::Systemd => Some("/etc/systemd/system/machine-engine.service"),
            Self::OpenRc => Some("/etc/init.d/machine-engine"),
            Self::Other(_) => None,
        }
    }
}

impl Facts {
    /// Reads the probe's answer. `None` when it is cut short, or something else spoke.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut one: BTreeMap<&str, &str> = BTreeMap::new();
        let mut many: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for line in text.lines() {
            // A login script may greet; such lines are not ours.
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.trim().trim_matches(['"', '\'']);
            one.insert(key, value);
            many.entry(key).or_default().push(value.to_owned());
        }
        one.get("end")?;
        let text = |key: &str| one.get(key).map(|value| (*value).to_owned()).filter(|v| !v.is_empty());
        let list = |key: &str| many.get(key).cloned().unwrap_or_default();
        let yes = |key: &str| one.get(key) == Some(&"yes");
        Some(Self {
            become_root: text("become")?,
            uid: text("uid")?.parse().ok()?,
            arch: text("arch")?,
            init: text("init").map(|init| match init.as_str() {
                "systemd" => Init::Systemd,
                "openrc" => Init::OpenRc,
                _ => Init::Other(init),
            }),
            os: text("os_PRETTY_NAME").or_else(|| text("os_ID")).unwrap_or_else(|| "Linux".to_owned()),
            cgroup: text("cgroup").unwrap_or_default(),
            overlay: yes("overlay"),
            library: text("library"),
            free_kib: text("free_kib").and_then(|kib| kib.parse().ok()),
            selinux: one.get("selinux") == Some(&"1"),
            tools: list("tool"),
            engines: list("engine"),
            firewalls: list("firewall"),
            fuse: yes("fuse"),
            covered: list("covered").iter().filter_map(|number| number.parse().ok()).collect(),
            owner: text("ours_machine"),
            engine: text("ours_engine"),
            settings: text("ours_settings"),
            binaries: list("binary"),
            active: yes("active"),
        })
    }

    /// Why no engine that `user` puts there can live here, if so; else where its binary goes.
    pub(super) fn place(&self, user: &str) -> Result<String, Unfit> {
        if self.become_root == "no" {
            return Err(Unfit::NotRoot { user: user.to_owned() });
        }
        match &self.init {
            Some(Init::Systemd | Init::OpenRc) => {}
            Some(Init::Other(init)) => return Err(Unfit::Init { init: init.clone() }),
            None => return Err(Unfit::Init { init: "?".to_owned() }),
        }
        if !self.overlay {
            return Err(Unfit::Overlay);
        }
        if self.cgroup == "0" {
            return Err(Unfit::Cgroup);
        }
        if let Some(free) = self.free_kib.filter(|free| *free < LEAST_SPACE) {
            return Err(Unfit::Space { free_mib: free / 1024 });
        }
        let library = self.library.as_deref().filter(|folder| host::LIBRARIES.contains(folder));
        Ok(format!("{}/{}", library.ok_or(Unfit::ReadOnly)?, host::PROGRAMS))
    }

    /// Why these folders cannot be shown there, if so.
    pub(super) fn check_folders(&self, folders: &[SharedFolder]) -> Result<(), Unfit> {
        folders::check(folders, self.fuse, &self.covered)
    }

    /// The engine of this installation runs there, with these settings.
    pub(super) fn is_current(&self, installation: &Installation) -> bool {
        self.active
            && self.engine.as_deref() == Some(&installation.engine)
            && self.settings.as_deref() == Some(&installation.settings)
    }

    pub(super) fn has_binary(&self, name: &str) -> bool {
        self.binaries.iter().any(|has| has == name)
    }

    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    pub(super) fn has_tool(&self, tool: &str) -> bool {
        self.tools.iter().any(|has| has == tool)
    }

    pub(super) fn is_selinux_enforcing(&self) -> bool {
        self.selinux
    }

    /// dockerd is there, and its rules for forwarded packets may be in force.
    pub(super) fn has_dockerd(&self) -> bool {
        self.engines.iter().any(|engine| engine == "dockerd")
    }

    /// What the user should know before anything is changed.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = vec![format!("Provisioning {} ({})", self.os, self.arch)];
        if self.has_dockerd() {
            remarks.push(
                "dockerd is installed there; it is left alone, and the machine's engine runs beside it"
                    .to_owned(),
            );
        }
        if self.cgroup == "1" {
            remarks.push("The host uses cgroup v1; some limits are less exact than with v2".to_owned());
        }
        if self.selinux {
            remarks.push("SELinux is enforcing there; containers run without its confinement".to_owned());
        }
        for firewall in &self.firewalls {
            let bridge = host::BRIDGE;
            remarks.push(format!(
                "The firewall {firewall} is active there and may stop what containers send: let {bridge} through"
            ));
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "Welcome!\nbecome=sudo\nuid=1000\narch=x86_64\nos_ID=debian\n\
        os_PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\ninit=systemd\ncgroup=2\n\
        overlay=yes\nlibrary=/usr/local/lib\nbinary=engine-1\nfree_kib=9000000\ntool=gzip\nengine=dockerd\nend=yes\n";

    fn facts(change: &[(&str, &str)]) -> Facts {
        let mut text = DEBIAN.to_owned();
        for (from, to) in change {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        Facts::parse(&text).unwrap()
    }

    #[test]
    fn a_probe_is_read_and_a_cut_one_refused() {
        let facts = facts(&[]);
        assert_eq!((facts.os.as_str(), facts.uid), ("Debian GNU/Linux 12 (bookworm)", 1000));
        assert_eq!(facts.place("admin").unwrap(), "/usr/local/lib/machine-engine/bin");
        assert!(facts.has_dockerd() && facts.has_tool("gzip") && !facts.has_tool("nft"));
        assert!(facts.has_binary("engine-1") && !facts.has_binary("engine-2"));
        assert_eq!(Facts::parse(&DEBIAN.replace("end=yes\n", "")), None);
        assert_eq!(Facts::parse("This account is not available"), None);
    }

    #[test]
    fn hosts_that_are_no_place_say_why() {
        let unfit = |from, to| facts(&[(from, to)]).place("admin").unwrap_err();
        assert!(matches!(unfit("become=sudo", "become=no"), Unfit::NotRoot { .. }));
        assert_eq!(unfit("init=systemd", "init=runit"), Unfit::Init { init: "runit".to_owned() });
        assert_eq!(unfit("overlay=yes", "overlay=no"), Unfit::Overlay);
        assert_eq!(unfit("cgroup=2", "cgroup=0"), Unfit::Cgroup);
        assert_eq!(unfit("free_kib=9000000", "free_kib=2048"), Unfit::Space { free_mib: 2 });
        assert_eq!(unfit("library=/usr/local/lib\n", ""), Unfit::ReadOnly);
        // Whoever answers the probe does not choose where we write.
        assert_eq!(unfit("library=/usr/local/lib\n", "library=/etc; rm -rf /\n"), Unfit::ReadOnly);
        let flatcar = facts(&[("library=/usr/local/lib", "library=/opt")]);
        assert_eq!(flatcar.place("admin").unwrap(), "/opt/machine-engine/bin");
    }
}
