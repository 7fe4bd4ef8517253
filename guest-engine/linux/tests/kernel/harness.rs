//! A runtime in a temporary folder and containers made of busybox.

use engine::ports::{
    AttachRequest, Bundle, ContainerRuntime, LogFile, LogFormat, LogPlan, LogSink, OutputFrame, OutputStream,
    StreamKind, Task, TerminalSize,
};
use engine_linux::ShimRuntime;
use futures_util::StreamExt;
use oci_spec::runtime::{
    self as oci, LinuxBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResources, ProcessBuilder,
    RootBuilder, SpecBuilder,
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One container's surroundings; removed with everything in it at the end.
pub(crate) struct Case {
    pub(crate) folder: TempDir,
    pub(crate) runtime: ShimRuntime,
    pub(crate) id: String,
}

/// What differs between the tests.
#[derive(Default)]
pub(crate) struct Wish {
    pub(crate) stdin: bool,
    pub(crate) terminal: Option<TerminalSize>,
    pub(crate) log: bool,
    pub(crate) resources: Option<LinuxResources>,
    pub(crate) user: u32,
}

impl Case {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("engine-linux-").tempdir().unwrap();
        let rootfs = folder.path().join("rootfs");
        for name in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox-static is not installed");
        for applet in ["sh", "cat", "echo", "sleep", "true", "stty", "id", "dd", "yes", "head", "ls", "wc"] {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        let runtime = Self::runtime(folder.path());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // As long as real ids are, because of the limit of socket paths.
        let id = format!("{:0>56x}{:0>8x}", std::process::id(), number);
        Self { folder, runtime, id }
    }

    fn runtime(folder: &Path) -> ShimRuntime {
        let shim = PathBuf::from(env!("CARGO_BIN_EXE_shim-for-tests"));
        ShimRuntime::new(&folder.join("run"), folder, shim)
    }

    /// A second engine, as after a restart.
    pub(crate) fn another_runtime(&self) -> ShimRuntime {
        Self::runtime(self.folder.path())
    }

    pub(crate) fn shim_folder(&self) -> PathBuf {
        self.folder.path().join("run/shim").join(&self.id)
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.folder.path().join("json.log")
    }

    pub(crate) fn bundle(&self, args: &[&str], wish: Wish) -> Bundle {
        let process = process(args, wish.terminal.is_some(), wish.user);
        let namespace = |typ| LinuxNamespaceBuilder::default().typ(typ).build().unwrap();
        let mut linux = LinuxBuilder::default()
            .cgroups_path(format!("/machine-tests-{}", self.id))
            .namespaces(
                [
                    LinuxNamespaceType::Pid,
                    LinuxNamespaceType::Mount,
                    LinuxNamespaceType::Ipc,
                    LinuxNamespaceType::Uts,
                    LinuxNamespaceType::Network,
                ]
                .map(namespace),
            )
            .build()
            .unwrap();
        linux.set_resources(wish.resources);
        let spec = SpecBuilder::default()
            .version("1.0.2")
            .root(
                RootBuilder::default()
                    .path(self.folder.path().join("rootfs"))
                    .readonly(false)
                    .build()
                    .unwrap(),
            )
            .process(process)
            .hostname("tester")
            .mounts(mounts())
            .linux(linux)
            .build()
            .unwrap();
        Bundle {
            id: self.id.clone(),
            spec,
            seccomp: None,
            stdin: wish.stdin,
            stdin_once: wish.stdin,
            log: LogPlan { sink: wish.log.then(|| self.log()), ..LogPlan::default() },
            terminal_size: wish.terminal,
        }
    }

    fn log(&self) -> LogSink {
        LogSink::File(LogFile {
            path: self.log_path(),
            format: LogFormat::Json { attributes: BTreeMap::new() },
            max_size: None,
            max_files: 1,
            compress: false,
        })
    }

    pub(crate) async fn create(&self, args: &[&str], wish: Wish) -> Arc<dyn Task> {
        self.runtime.create(self.bundle(args, wish)).await.unwrap()
    }

    pub(crate) async fn sh(&self, script: &str) -> Arc<dyn Task> {
        self.create(&["/bin/sh", "-c", script], Wish::default()).await
    }

    /// To be called at the end: a failed test leaves its cgroup, a passed one must not.
    pub(crate) async fn finish(self) {
        self.runtime.delete(&self.id).await.unwrap();
        assert!(!self.shim_folder().exists());
        self.runtime.delete(&self.id).await.unwrap();
    }
}

pub(crate) fn process(args: &[&str], terminal: bool, user: u32) -> oci::Process {
    let mut process = ProcessBuilder::default()
        .terminal(terminal)
        .args(args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
        .env(vec!["PATH=/usr/bin:/bin".to_owned(), "HOME=/root".to_owned()])
        .cwd("/")
        .user(oci::UserBuilder::default().uid(user).gid(user).build().unwrap())
        .no_new_privileges(false)
        .build()
        .unwrap();
    process.set_rlimits(None);
    process
}

fn mounts() -> Vec<oci::Mount> {
    oci::get_default_mounts()
        .into_iter()
        .filter(|mount| mount.destination() != Path::new("/sys/fs/cgroup"))
        .collect()
}

pub(crate) const ALL: AttachRequest = AttachRequest { stdin: true, stdout: true, stderr: true };
pub(crate) const OUTPUT: AttachRequest = AttachRequest { stdin: false, stdout: true, stderr: true };

/// Both streams until their end.
pub(crate) async fn collect(mut output: OutputStream) -> (String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(frame) = output.next().await {
        let OutputFrame { stream, data } = frame.unwrap();
        match stream {
            StreamKind::Stdout => stdout.extend_from_slice(&data),
            StreamKind::Stderr => stderr.extend_from_slice(&data),
        }
    }
    (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Fails a test that hangs.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("took more than 60 s")
}
