//! Containers' processes, each under its own shim. The engine's side: spawns shims, finds them again and
//! cleans up after them. Nothing here calls libcontainer; see `shim`.

mod connection;
mod process_list;
mod spawn;
mod stats;
mod task;

use crate::{
    cgroup::{self, Cgroup},
    container_init,
    seccomp::Programs,
    shim::{
        config::{CONFIG_FILE, EXEC_FOLDER, SECCOMP_FILE, SPEC_FILE, ShimConfig, Size},
        exit_record, rlimits,
    },
};
use async_trait::async_trait;
use engine::ports::{AdoptedTask, Bundle, ContainerRuntime, RuntimeError, Task};
use oci_spec::runtime::{
    Capabilities, Capability, LinuxDeviceCgroup, LinuxNamespaceType, Mount, Process, Spec,
};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};
use task::ShimTask;

/// Runs containers under shims.
///
/// Everything it leaves on disk lies below `run_root`: `shim/ID` (one folder per container, its execs
/// below it) and `libcontainer/ID` (libcontainer's scratch).
#[derive(Debug)]
pub struct ShimRuntime {
    places: Arc<Places>,
}

/// Where things are.
#[derive(Debug)]
pub(crate) struct Places {
    run_root: PathBuf,
    executable: PathBuf,
    programs: Programs,
}

impl ShimRuntime {
    /// `executable` is what runs `shim::main` when its first argument is `shim`: our own binary.
    /// `data_root` is where a later engine keeps what outlives a boot; shims keep nothing there.
    pub fn new(run_root: &Path, _data_root: &Path, executable: PathBuf) -> Self {
        Self {
            places: Arc::new(Places {
                run_root: run_root.to_owned(),
                executable,
                programs: Programs::default(),
            }),
        }
    }
}

impl Places {
    /// Folder of a container's shim.
    pub(crate) fn container(&self, id: &str) -> PathBuf {
        self.run_root.join("shim").join(id)
    }

    /// Folder of an exec's shim.
    pub(crate) fn exec(&self, id: &str, exec_id: &str) -> PathBuf {
        self.container(id).join(EXEC_FOLDER).join(exec_id)
    }

    /// libcontainer's scratch.
    pub(crate) fn state_root(&self) -> PathBuf {
        self.run_root.join("libcontainer")
    }

    pub(crate) fn executable(&self) -> &Path {
        &self.executable
    }
}

#[async_trait]
impl ContainerRuntime for ShimRuntime {
    async fn create(&self, bundle: Bundle) -> Result<Arc<dyn Task>, RuntimeError> {
        let id = safe_name(&bundle.id)?.to_owned();
        // What an earlier run left; ids are not used twice at the same time.
        self.delete(&id).await?;
        let folder = self.places.container(&id);
        let places = Arc::clone(&self.places);
        let written = {
            let folder = folder.clone();
            blocking(move || write_bundle(&places, &folder, &bundle)).await?
        };
        let created = match written {
            Ok(config) => spawn::spawn(self.places.executable(), &folder, spawn::CREATE_PREFIX)
                .await
                .map(|pid| (pid, config.cgroup)),
            Err(error) => Err(RuntimeError::System(format!("could not write the bundle: {error}"))),
        };
        match created {
            Ok((pid, cgroup)) => {
                let task = ShimTask::open(Arc::clone(&self.places), id, None, folder, pid, &cgroup);
                Ok(task)
            }
            Err(error) => {
                if let Err(left) = self.delete(&id).await {
                    tracing::warn!(%id, error = %left, "could not clean up after a failed create");
                }
                Err(error)
            }
        }
    }

    async fn adopt(&self, id: &str) -> Result<AdoptedTask, RuntimeError> {
        let folder = self.places.container(safe_name(id)?);
        task::adopt(&self.places, id, None, folder).await
    }

    async fn adopt_exec(&self, id: &str, exec_id: &str) -> Result<AdoptedTask, RuntimeError> {
        let folder = self.places.exec(safe_name(id)?, safe_name(exec_id)?);
        task::adopt(&self.places, id, Some(exec_id), folder).await
    }

    async fn init_program(&self) -> Result<PathBuf, RuntimeError> {
        let copy = self.places.run_root.join(container_init::NAME);
        blocking(move || own_program(&copy))
            .await?
            .map_err(|error| RuntimeError::System(format!("could not find the init program: {error}")))
    }

    async fn delete(&self, id: &str) -> Result<(), RuntimeError> {
        let id = safe_name(id)?;
        let folder = self.places.container(id);
        let scratch = self.places.state_root().join(id);
        blocking(move || clean(&folder, &scratch)).await?.map_err(|error| {
            RuntimeError::System(format!("could not remove the container's remains: {error}"))
        })
    }
}

/// Runs blocking work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| RuntimeError::System(format!("a helper thread failed: {error}")))
}

/// The running binary by a path that can be mounted: its own, or a copy when its file was replaced.
fn own_program(copy: &Path) -> io::Result<PathBuf> {
    const RUNNING: &str = "/proc/self/exe";
    let same = |path: &Path| -> io::Result<bool> {
        let (own, there) = (fs::metadata(RUNNING)?, fs::metadata(path)?);
        Ok((own.dev(), own.ino()) == (there.dev(), there.ino()))
    };
    let path = fs::read_link(RUNNING)?;
    if same(&path).unwrap_or(false) {
        return Ok(path);
    }
    if fs::metadata(copy).map_or(0, |there| there.len()) != fs::metadata(RUNNING)?.len() {
        // Containers of an earlier engine may run the old copy: they keep it.
        let temporary = copy.with_extension("new");
        fs::copy(RUNNING, &temporary)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755))?;
        fs::rename(&temporary, copy)?;
    }
    Ok(copy.to_owned())
}

/// An id that can only name a child of its folder.
pub(crate) fn safe_name(id: &str) -> Result<&str, RuntimeError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.starts_with('.') || id.len() > 128 || !id.chars().all(plain) {
        return Err(RuntimeError::System(format!("invalid id {id:?}")));
    }
    Ok(id)
}

/// libcontainer mounts the hierarchies of cgroup v1 writable, whatever the mount's options say.
fn legacy_groups_read_only(spec: &mut Spec) -> io::Result<()> {
    let root = Path::new(cgroup::ROOT);
    let is_ours = |mount: &Mount| mount.destination() == root && mount.typ().as_deref() == Some("cgroup");
    let read_only = |mount: &Mount| mount.options().iter().flatten().any(|option| option == "ro");
    let asked = spec.mounts().iter().flatten().any(|mount| is_ours(mount) && read_only(mount));
    if !asked || root.join("cgroup.controllers").exists() {
        return Ok(());
    }
    let Some(linux) = spec.linux_mut() else { return Ok(()) };
    let mut paths = linux.readonly_paths().clone().unwrap_or_default();
    paths.push(cgroup::ROOT.to_owned());
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            paths.push(entry.path().display().to_string());
        }
    }
    linux.set_readonly_paths(Some(paths));
    Ok(())
}

fn write_bundle(places: &Places, folder: &Path, bundle: &Bundle) -> io::Result<ShimConfig> {
    make_folder(folder)?;
    make_folder(&places.state_root())?;
    let mut spec = bundle.spec.clone();
    let rlimits = spec.process_mut().as_mut().map(rlimits::take).unwrap_or_default();
    if let Some(policy) = &bundle.seccomp {
        fs::write(folder.join(SECCOMP_FILE), places.programs.of(policy)?)?;
        if let Some(process) = spec.process_mut() {
            let_install_seccomp(process);
        }
    }
    legacy_groups_read_only(&mut spec)?;
    fs::write(folder.join(SPEC_FILE), serde_json::to_vec(&spec)?)?;
    let process = bundle.spec.process().as_ref();
    let config = ShimConfig {
        id: bundle.id.clone(),
        exec: false,
        bundle: folder.to_owned(),
        state_root: places.state_root(),
        terminal: process.and_then(|process| process.terminal()).unwrap_or(false),
        size: bundle.terminal_size.map(Size::from),
        stdin: bundle.stdin,
        stdin_once: bundle.stdin_once,
        output: bundle.log.clone(),
        uid: process.map_or(0, |process| process.user().uid()),
        cgroup: cgroup_path(&bundle.spec, &bundle.id),
        private_pids: has_private_pids(&bundle.spec),
        devices: device_rules(&bundle.spec),
        no_oom_killer: has_no_oom_killer(&bundle.spec),
        seccomp: bundle.seccomp.is_some(),
        rlimits,
    };
    write_config(folder, &config)?;
    Ok(config)
}

/// Gives the process CAP_SYS_ADMIN until its `exec`, for without it the kernel takes no seccomp filter
/// from a process that may still gain privileges. It is neither inheritable, ambient nor in the bounding
/// set, unless the container has it, so no `exec` keeps it.
pub(crate) fn let_install_seccomp(process: &mut Process) {
    let mut sets = process.capabilities().clone().unwrap_or_default();
    let with = |set: &Option<Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.insert(Capability::SysAdmin);
        Some(set)
    };
    let (permitted, effective) = (with(sets.permitted()), with(sets.effective()));
    sets.set_permitted(permitted).set_effective(effective);
    process.set_capabilities(Some(sets));
}

/// A folder nobody else may enter, whatever is above it.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

pub(crate) fn write_config(folder: &Path, config: &ShimConfig) -> io::Result<()> {
    fs::write(folder.join(CONFIG_FILE), serde_json::to_vec(config)?)
}

pub(crate) fn read_config(folder: &Path) -> io::Result<Option<ShimConfig>> {
    match fs::read(folder.join(CONFIG_FILE)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where libcontainer puts it: what the specification says, else by the id.
fn cgroup_path(spec: &Spec, id: &str) -> PathBuf {
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone());
    path.unwrap_or_else(|| PathBuf::from(format!(":youki:{id}")))
}

fn has_private_pids(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces
        .is_some_and(|all| all.iter().any(|one| one.typ() == LinuxNamespaceType::Pid && one.path().is_none()))
}

fn has_no_oom_killer(spec: &Spec) -> bool {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let memory = resources.and_then(|resources| resources.memory().as_ref());
    memory.and_then(|memory| memory.disable_oom_killer()).unwrap_or(false)
}

fn device_rules(spec: &Spec) -> Vec<LinuxDeviceCgroup> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    resources.and_then(|resources| resources.devices().clone()).unwrap_or_default()
}

fn clean(folder: &Path, scratch: &Path) -> io::Result<()> {
    if let Some(config) = read_config(folder)? {
        Cgroup::at(&config.cgroup).remove()?;
    }
    remove_folder(scratch)?;
    remove_folder(folder)
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    // Twice, should a shim have written its record meanwhile.
    for _ in 0..2 {
        match fs::remove_dir_all(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) => return Err(error),
        }
    }
    fs::remove_dir_all(folder)
}

/// The record of an end, read off the async threads.
pub(crate) async fn exit_record_of(
    folder: PathBuf,
) -> Result<Option<crate::shim::protocol::ExitRecord>, RuntimeError> {
    blocking(move || exit_record::read(&folder))
        .await?
        .map_err(|error| RuntimeError::System(format!("could not read the exit record: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_their_folder() {
        assert!(safe_name("3f2a-b_c.d").is_ok());
        for id in ["", ".", "..", "a/b", "a\0", ".hidden"] {
            assert!(safe_name(id).is_err(), "{id:?}");
        }
    }
}
