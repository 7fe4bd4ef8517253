//! The whole OCI runtime specification of a container, from its record and what was looked up for it.
//! Pure: every decision about isolation is made and tested here, and nowhere else.

pub(crate) mod capabilities;
pub(crate) mod devices;
pub(crate) mod mounts;
pub(crate) mod resources;
mod sysctls;
pub(crate) mod user;

use super::{record::Record, security_opt, volumes::Sources};
use crate::error::{EngineError, Result};
use bollard_stubs::models::{ContainerConfig, HostConfig, HostConfigCgroupnsModeEnum};
use devices::HostDevice;
use oci_spec::runtime::{Capabilities, Linux, LinuxNamespace, LinuxNamespaceType, Process, Root, Spec, User};
use std::path::{Component, Path, PathBuf};
use user::ResolvedUser;

/// What dockerd puts before a refusal of its OCI runtime.
const RUNTIME_REFUSED: &str = "failed to create task for container: failed to create shim task: OCI runtime create \
                               failed: runc create failed: ";
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the outside contributes to a specification.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    /// The mounted root filesystem.
    pub(crate) rootfs: &'a Path,
    /// The container's folder, with the files mounted over its `/etc`.
    pub(crate) folder: &'a Path,
    pub(crate) user: ResolvedUser,
    pub(crate) devices: Vec<HostDevice>,
    /// Capabilities that the engine can hand on.
    pub(crate) grantable: u64,
    pub(crate) network: Namespace,
    pub(crate) pid: Namespace,
    pub(crate) ipc: Namespace,
    /// Variables about linked containers.
    pub(crate) links: Vec<String>,
    /// Where its volumes are on the host.
    pub(crate) sources: Sources,
    /// The program to run first, if the container is to have one that reaps.
    pub(crate) init: Option<PathBuf>,
}

/// Where a namespace comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    Private,
    Host,
    Join(PathBuf),
}

/// What a process needs besides its arguments; the first one's and every exec's.
#[derive(Debug)]
pub(crate) struct ProcessPlan<'a> {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: &'a str,
    pub(crate) user: &'a ResolvedUser,
    pub(crate) terminal: bool,
    pub(crate) privileged: bool,
    /// Capabilities that the engine can hand on.
    pub(crate) grantable: u64,
}

/// Builds the specification of a container.
pub(crate) fn build(record: &Record, around: &Surroundings<'_>) -> Result<Spec> {
    let (config, host) = (&record.config, &record.host);
    let privileged = host.privileged.unwrap_or(false);
    let plan = ProcessPlan {
        args: with_init(record.command(), around),
        env: with_links(environment(config, &record.hostname(), &[]), &around.links),
        cwd: working_dir(config),
        user: &around.user,
        terminal: record.terminal(),
        privileged,
        grantable: around.grantable,
    };
    let process = process(host, plan)?;

    let paths = |chosen: &Option<Vec<String>>, default: fn() -> Vec<String>| match chosen {
        _ if privileged => Vec::new(),
        Some(chosen) => chosen.clone(),
        None => default(),
    };

    let mut root = Root::default();
    root.set_path(around.rootfs.to_owned()).set_readonly(Some(host.readonly_rootfs.unwrap_or(false)));

    let mut rules = devices::rules(privileged, &around.devices);
    rules.extend(devices::custom_rules(host.device_cgroup_rules.as_deref().unwrap_or_default())?);
    let sysctls = sysctls::of(host, &around.network, &around.ipc)
        .map_err(|sentence| EngineError::system(format!("{RUNTIME_REFUSED}{sentence}: unknown")))?;

    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(host, around)))
        .set_cgroups_path(Some(cgroup(host, &record.id)))
        .set_resources(Some(resources::resources(host, rules, &super::host_devices::block_numbers)?))
        .set_devices(Some(devices::nodes(&around.devices)))
        .set_sysctl(Some(sysctls))
        .set_rootfs_propagation(Some(super::propagation::of_root(record).to_owned()))
        .set_masked_paths(Some(paths(&host.masked_paths, masked_paths)))
        .set_readonly_paths(Some(paths(&host.readonly_paths, readonly_paths)));

    let mut spec = Spec::default();
    spec.set_version("1.0.2".to_owned())
        .set_root(Some(root))
        .set_process(Some(process))
        .set_mounts(Some(mounts::all(record, around)?))
        .set_linux(Some(linux))
        .set_hooks(None)
        .set_annotations(host.annotations.clone());
    let own_uts = host.uts_mode.as_deref() != Some("host");
    spec.set_hostname(own_uts.then(|| record.hostname()))
        .set_domainname(config.domainname.clone().filter(|d| own_uts && !d.is_empty()));
    Ok(spec)
}

/// A process in a container: its first one, or an exec.
pub(crate) fn process(host: &HostConfig, plan: ProcessPlan<'_>) -> Result<Process> {
    let kept: Capabilities = if plan.privileged {
        capabilities::all(plan.grantable)
    } else {
        capabilities::resolve(
            host.cap_add.as_deref().unwrap_or_default(),
            host.cap_drop.as_deref().unwrap_or_default(),
            plan.grantable,
        )?
    };
    let mut user = User::default();
    user.set_uid(plan.user.uid).set_gid(plan.user.gid);
    if !plan.user.groups.is_empty() {
        user.set_additional_gids(Some(plan.user.groups.clone()));
    }
    let mut env = plan.env;
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", plan.user.home));
    }
    let no_new_privileges = security_opt::no_new_privileges(host.security_opt.as_deref().unwrap_or_default());
    let mut process = Process::default();
    process
        .set_terminal(Some(plan.terminal))
        .set_args(Some(plan.args))
        .set_env(Some(env))
        .set_cwd(plan.cwd.into())
        .set_user(user)
        .set_capabilities(Some(capabilities::for_user(kept, plan.user.uid)))
        .set_no_new_privileges(Some(no_new_privileges))
        .set_oom_score_adj(Some(host.oom_score_adj.and_then(|v| i32::try_from(v).ok()).unwrap_or(0)))
        .set_rlimits(Some(resources::rlimits(host.ulimits.as_deref().unwrap_or_default())?));
    Ok(process)
}

/// What the configuration says goes before what links bring.
fn with_links(mut env: Vec<String>, links: &[String]) -> Vec<String> {
    for link in links {
        let name = link.split_inclusive('=').next().unwrap_or(link);
        if !env.iter().any(|own| own.starts_with(name)) {
            env.push(link.clone());
        }
    }
    env
}

/// What a process finds in its environment: Docker's own, the configuration's, then `more`. `NAME`
/// without a value removes one.
pub(crate) fn environment(config: &ContainerConfig, hostname: &str, more: &[String]) -> Vec<String> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if config.tty.unwrap_or(false) {
        env.push("TERM=xterm".to_owned());
    }
    for entry in config.env.iter().flatten().chain(more) {
        let key = entry.split_once('=').map_or(entry.as_str(), |(key, _)| key);
        let same = |own: &String| own.split_once('=').is_some_and(|(own, _)| own == key);
        match (env.iter_mut().find(|own| same(own)), entry.contains('=')) {
            (Some(own), true) => own.clone_from(entry),
            (None, true) => env.push(entry.clone()),
            (_, false) => env.retain(|own| !same(own)),
        }
    }
    env
}

pub(crate) fn working_dir(config: &ContainerConfig) -> &str {
    config.working_dir.as_deref().filter(|dir| !dir.is_empty()).unwrap_or("/")
}

impl Record {
    /// `--hostname`, else the start of its id.
    pub fn hostname(&self) -> String {
        let given = self.config.hostname.as_deref().filter(|name| !name.is_empty());
        given.unwrap_or_else(|| crate::id::short(&self.id)).to_owned()
    }
}

/// The container's cgroup: under `--cgroup-parent`, by default `docker`.
fn cgroup(host: &HostConfig, id: &str) -> PathBuf {
    let parent = host.cgroup_parent.as_deref().filter(|parent| !parent.is_empty()).unwrap_or("docker");
    let inside = Path::new(parent).components().filter(|part| matches!(part, Component::Normal(_)));
    Path::new("/").join(inside.collect::<PathBuf>()).join(id)
}

fn namespaces(host: &HostConfig, around: &Surroundings<'_>) -> Vec<LinuxNamespace> {
    // Its own unless asked otherwise, privileged or not, as dockerd decides on a cgroup v2 host.
    let cgroup = match host.cgroupns_mode {
        Some(HostConfigCgroupnsModeEnum::HOST) => Namespace::Host,
        _ => Namespace::Private,
    };
    let uts = if host.uts_mode.as_deref() == Some("host") { Namespace::Host } else { Namespace::Private };
    [
        (LinuxNamespaceType::Mount, &Namespace::Private),
        (LinuxNamespaceType::Network, &around.network),
        (LinuxNamespaceType::Uts, &uts),
        (LinuxNamespaceType::Pid, &around.pid),
        (LinuxNamespaceType::Ipc, &around.ipc),
        (LinuxNamespaceType::Cgroup, &cgroup),
    ]
    .into_iter()
    .filter_map(|(kind, from)| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        match from {
            Namespace::Host => return None,
            Namespace::Private => {}
            Namespace::Join(path) => {
                namespace.set_path(Some(path.clone()));
            }
        }
        Some(namespace)
    })
    .collect()
}

/// Where the init program is in a container that has one.
pub(super) const INIT_PATH: &str = "/sbin/docker-init";

/// A container that shares others' processes has somebody to reap already.
pub(super) fn init<'a>(around: &'a Surroundings<'_>) -> Option<&'a Path> {
    around.init.as_deref().filter(|_| around.pid == Namespace::Private)
}

fn with_init(command: Vec<String>, around: &Surroundings<'_>) -> Vec<String> {
    match init(around) {
        Some(_) => [INIT_PATH.to_owned(), "--".to_owned()].into_iter().chain(command).collect(),
        None => command,
    }
}

/// What is hidden in a container, unless it says otherwise.
pub(super) fn masked_paths() -> Vec<String> {
    [
        "/proc/asound",
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What nobody may write in a container, unless it says otherwise.
pub(super) fn readonly_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::tests::record;
    use oci_spec::runtime::Capability;

    fn built(change: impl FnOnce(&mut Record)) -> Spec {
        let mut record = record("web");
        change(&mut record);
        let around = Surroundings {
            rootfs: Path::new("/rootfs"),
            folder: Path::new("/folder"),
            user: user::resolve(record.config.user.as_deref().unwrap_or(""), &[], user::UserFiles::default())
                .unwrap(),
            devices: Vec::new(),
            grantable: u64::MAX,
            network: Namespace::Join("/run/netns/x".into()),
            pid: Namespace::Private,
            ipc: Namespace::Private,
            links: Vec::new(),
            sources: Vec::new(),
            init: None,
        };
        build(&record, &around).unwrap()
    }

    #[test]
    fn a_plain_container_is_isolated_like_dockers() {
        let spec = built(|_| ());
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.args().as_deref(), Some(&["true".to_owned()][..]));
        assert_eq!(process.cwd(), Path::new("/"));
        let capabilities = process.capabilities().as_ref().unwrap();
        assert!(!capabilities.effective().as_ref().unwrap().contains(&Capability::SysAdmin));
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.namespaces().as_ref().map(Vec::len), Some(6));
        assert!(linux.cgroups_path().as_ref().unwrap().starts_with("/docker"));
        assert!(linux.masked_paths().as_ref().unwrap().iter().any(|p| p == "/proc/kcore"));
        assert_eq!(spec.hostname().as_ref().map(String::len), Some(12));
        assert!(!linux.resources().as_ref().unwrap().devices().as_ref().unwrap()[0].allow());
    }

    #[test]
    fn privileged_lifts_the_walls() {
        let spec = built(|r| r.host.privileged = Some(true));
        let linux = spec.linux().as_ref().unwrap();
        assert!(linux.masked_paths().as_ref().unwrap().is_empty());
        assert!(linux.resources().as_ref().unwrap().devices().as_ref().unwrap()[0].allow());
        let capabilities = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        assert!(capabilities.effective().as_ref().unwrap().contains(&Capability::SysAdmin));
    }

    #[test]
    fn environment_is_layered() {
        let config = ContainerConfig {
            env: Some(vec!["PATH=/mine".into(), "A=1".into(), "B=2".into()]),
            tty: Some(true),
            ..ContainerConfig::default()
        };
        assert_eq!(
            environment(&config, "h", &["A=3".into(), "B".into()]),
            ["PATH=/mine", "HOSTNAME=h", "TERM=xterm", "A=3"]
        );
    }

    #[test]
    fn users_without_privileges_start_without_capabilities_in_effect() {
        let spec = built(|r| r.config.user = Some("1000:1000".into()));
        let process = spec.process().as_ref().unwrap();
        assert_eq!((process.user().uid(), process.user().gid()), (1000, 1000));
        assert!(process.env().as_ref().unwrap().iter().any(|e| e == "HOME=/"));
        assert!(process.capabilities().as_ref().unwrap().effective().as_ref().unwrap().is_empty());
    }
}
