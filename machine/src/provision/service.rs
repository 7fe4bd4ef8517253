//! The service on the host: its file, its environment, and the note of what was installed.

use super::{
    HostPlan,
    binary::{self, Loaded},
    facts::{Facts, Init, Unfit},
    folders,
    service_file::Service,
};
use guest_contract::host;

/// What is to be on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installation {
    /// Folder of the binary.
    pub(super) library: String,
    /// The binary's file name, which bears its hash.
    pub(super) engine: String,
    /// Hash of everything else: differs when the service must be written anew.
    pub(super) settings: String,
    init: Init,
    service: String,
    environment: String,
    /// The file of the service that shows folders, and which.
    folders_service: String,
    folders: String,
    machine_id: String,
    selinux: bool,
}

impl Installation {
    pub(super) fn new(plan: &HostPlan<'_>, facts: &Facts, binary: &Loaded) -> Result<Self, Unfit> {
        let library = facts.place(&plan.access.ssh.user)?;
        facts.check_folders(plan.folders)?;
        let init = facts.init.clone().unwrap_or(Init::Systemd);
        let engine = format!("engine-{}", &binary.sha256[..16]);
        let owner = (facts.uid != 0).then(|| facts.uid.to_string());
        let arguments = arguments(plan, owner.as_deref());
        let program = format!("{library}/{engine}");
        let service = Service {
            name: host::SERVICE,
            description: "Container engine of machine",
            program: &program,
            arguments,
        };
        let (service, environment) = match &init {
            Init::OpenRc => (openrc(&service), shell_exports(&plan.engine.env)),
            _ => (systemd(&service, facts.has_dockerd()), environment_file(&plan.engine.env)),
        };
        let folders_service = folders::service(&library, &init, owner.as_deref(), plan.folders);
        let settings = [&*service, &environment, &folders_service].join("\0");
        let settings = binary::sha256(settings.as_bytes());
        Ok(Self {
            library,
            engine,
            settings: settings[..16].to_owned(),
            init,
            service,
            environment,
            folders_service,
            folders: folders::lines(plan.folders),
            machine_id: plan.machine_id.to_owned(),
            selinux: facts.is_selinux_enforcing(),
        })
    }

    /// What `install.sh` works on; `unpack` makes the binary of what follows the script, if anything does.
    pub(super) fn assignments(&self, unpack: &str, length: usize) -> String {
        let installed = format!(
            "ours_machine={}\nours_engine={}\nours_settings={}\n",
            self.machine_id, self.engine, self.settings
        );
        let own = [
            ("INIT", self.init.name()),
            ("LIBRARY", &self.library),
            ("ENGINE", &self.engine),
            ("UNPACK", unpack),
            ("LENGTH", &length.to_string()),
            ("SERVICE_FILE", self.init.service_file().unwrap_or_default()),
            ("SERVICE_TEXT", &self.service),
            ("ENVIRONMENT_TEXT", &self.environment),
            ("INSTALLED_TEXT", &installed),
            ("SOCKET", host::ENGINE_SOCKET),
            ("DATA", host::DATA_ROOT),
            ("SELINUX", if self.selinux { "1" } else { "0" }),
            ("FOLDERS_TEXT", &self.folders_service),
            ("FOLDERS", &self.folders),
        ];
        assign(&[&own[..], &folders::assignments(Some(&self.init))].concat())
    }
}

/// `NAME='value'` for a shell, one a line.
pub(super) fn assign(variables: &[(&str, &str)]) -> String {
    variables.iter().map(|(name, value)| format!("{name}={}\n", shell_quoted(value))).collect()
}

fn arguments(plan: &HostPlan<'_>, owner: Option<&str>) -> Vec<String> {
    let mut arguments = vec!["serve".to_owned()];
    let mut option = |name: &str, value: &str| arguments.extend([name.to_owned(), value.to_owned()]);
    option("--socket", host::ENGINE_SOCKET);
    if let Some(owner) = owner {
        option("--owner", owner);
    }
    option("--data-root", host::DATA_ROOT);
    option("--run-root", host::RUN_ROOT);
    option("--bridge", host::BRIDGE);
    option("--label", &format!("provider={}", plan.driver));
    for label in &plan.engine.labels {
        option("--label", label);
    }
    for registry in &plan.engine.insecure_registries {
        option("--insecure-registry", registry);
    }
    for mirror in &plan.engine.registry_mirrors {
        option("--registry-mirror", mirror);
    }
    arguments
}

fn systemd(service: &Service<'_>, dockerd: bool) -> String {
    // dockerd drops what other bridges forward, but for what this chain of its lets through.
    let coexist = if dockerd {
        let bridge = host::BRIDGE;
        let let_through = |direction: &str| {
            format!(
                "ExecStartPost=-/bin/sh -c 'iptables -C DOCKER-USER {direction} {bridge} -j ACCEPT 2>/dev/null \
                 || iptables -I DOCKER-USER {direction} {bridge} -j ACCEPT 2>/dev/null'\n"
            )
        };
        format!("{}{}", let_through("-i"), let_through("-o"))
    } else {
        String::new()
    };
    let after = if dockerd { " docker.service" } else { "" };
    service.systemd(
        &format!(
            "After=network.target local-fs.target{after}\n\
             StartLimitIntervalSec=60\n\
             StartLimitBurst=5\n"
        ),
        &format!(
            "EnvironmentFile=-{settings}/environment\n\
             {coexist}\
             # Containers outlive the engine: it takes them over when it is back. When the host goes down it\n\
             # must stop them itself, or systemd waits a minute and a half for the first that ignores SIGTERM.\n\
             KillMode=process\n\
             ExecStop=/bin/sh -c '[ \"$$(systemctl is-system-running)\" != stopping ] || {{ \
             kill -USR1 $$MAINPID; while kill -0 $$MAINPID 2>/dev/null; do sleep 0.2; done; }}'\n\
             Restart=on-failure\n\
             TimeoutStartSec=90\n\
             TimeoutStopSec=30\n\
             Delegate=yes\n\
             LimitNOFILE=1048576\n\
             LimitNPROC=infinity\n\
             LimitCORE=infinity\n\
             OOMScoreAdjust=-500\n",
            settings = host::SETTINGS,
        ),
    )
}

/// supervise-daemon starts the engine again whenever it ends. The signal for "stop the containers as well" is
/// therefore followed at once by the ordinary stop, which ends the supervisor, and that waits for the engine.
fn openrc(service: &Service<'_>) -> String {
    service.openrc(&format!(
        "respawn_max=5\n\
         respawn_period=60\n\
         retry=TERM/30/KILL/5\n\
         rc_ulimit=\"-n 1048576\"\n\
         depend() {{\n    want cgroups\n    use net\n    after localmount cgroups firewall docker\n}}\n\
         start_pre() {{\n    set -a\n    . {settings}/environment\n    set +a\n    checkpath -d -m 0755 /run/{name}\n}}\n\
         stop_pre() {{\n    case $RC_RUNLEVEL in shutdown | reboot) ;; *) return 0 ;; esac\n    \
         kill -USR1 \"$(service_get_value child_pid)\"\n    return 0\n}}\n",
        name = host::SERVICE,
        settings = host::SETTINGS,
    ))
}

pub(super) fn shell_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn environment_file(pairs: &[String]) -> String {
    let line = |pair: &String| {
        let (key, value) = pair.split_once('=')?;
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$").replace('`', "\\`");
        Some(format!("{key}=\"{value}\"\n"))
    };
    pairs.iter().filter_map(line).collect()
}

fn shell_exports(pairs: &[String]) -> String {
    let line =
        |pair: &String| pair.split_once('=').map(|(key, value)| format!("{key}={}\n", shell_quoted(value)));
    pairs.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_their_readers() {
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
        assert_eq!(environment_file(&["A=$x \"q\"".to_owned()]), "A=\"\\$x \\\"q\\\"\"\n");
        assert_eq!(shell_exports(&["A=it's".to_owned()]), "A='it'\\''s'\n");
        let run = std::process::Command::new("sh")
            .args(["-c", &format!("{}printf %s \"$X\"", assign(&[("X", "a'b\nc $(d)")]))])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(run.stdout).unwrap(), "a'b\nc $(d)");
    }

    #[test]
    fn dockerd_is_let_be_and_our_bridge_let_through() {
        let service = Service { name: "", description: "", program: "/x/engine", arguments: Vec::new() };
        let with = systemd(&service, true);
        assert_eq!(with.matches("DOCKER-USER").count(), 4);
        assert!(!systemd(&service, false).contains("docker"));
    }
}
