//! An engine on a socket of its own, and the client that talks to it.

use engine::{
    Engine,
    engine::{Ports, Settings},
    ports::NoHost,
    testing::{MemoryLayers, MemoryLinks, MemoryRuntime, MemoryVolumes},
};
use guest_engine::http::{router::router, server, state::AppState};
use sha2::{Digest, Sha256};
use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    process::Command,
};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Fixture {
    folder: TempDir,
    stop: CancellationToken,
}

/// What a command printed.
pub(crate) struct Output {
    pub(crate) ok: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            data_root: folder.path().join("data"),
            run_root: folder.path().join("run"),
            labels: vec!["provider=memory".to_owned()],
            host: guest_engine::host_facts::read(),
            ..Settings::default()
        };
        let layers = Arc::new(MemoryLayers::default());
        let ports = Ports {
            runtime: Arc::new(MemoryRuntime::default()),
            layers: layers.clone(),
            files: layers,
            volumes: Arc::new(MemoryVolumes::new(&settings.data_root)),
            links: Arc::new(MemoryLinks::default()),
            host_ports: Arc::new(NoHost),
        };
        let engine = Arc::new(Engine::open(settings, ports).await.unwrap());
        let listener = UnixListener::bind(folder.path().join("docker.sock")).unwrap();
        let stop = CancellationToken::new();
        let state = AppState { engine, stopping: stop.clone() };
        tokio::spawn(server::serve(listener, router(state), stop.clone()));
        Self { folder, stop }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The client, with a configuration of its own.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{}", self.path("docker.sock").display()))
            .env("DOCKER_CONFIG", self.folder.path())
            .env_remove("DOCKER_CONTEXT")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let output = tokio::time::timeout(DEADLINE, self.docker(arguments).output());
        let output = output.await.unwrap_or_else(|_| panic!("docker {arguments:?} hangs")).unwrap();
        Output {
            ok: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that must succeed.
    pub(crate) async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.ok, "docker {arguments:?}: {}{}", output.stdout, output.stderr);
        output.stdout
    }

    /// Sends bytes as they are and reads until the engine closes.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.path("docker.sock")).await.unwrap();
        // The engine may refuse before it has read everything, and close.
        drop(stream.write_all(request.as_bytes()).await);
        let mut answer = Vec::new();
        drop(tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap());
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Loads a small image under these names.
    pub(crate) async fn load(&self, names: &[&str]) -> String {
        let file = self.path("image.tar");
        std::fs::write(&file, archive(names)).unwrap();
        self.ok(&["load", "-i", file.to_str().unwrap()]).await
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// `docker save` of an image with one file.
fn archive(names: &[&str]) -> Vec<u8> {
    let layer = tar(&[("bin/true", b"not really")]);
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
        "config": { "Cmd": ["true"], "Labels": { "made": "here" } },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        "history": [{ "created": "2026-01-02T03:04:05Z", "created_by": "COPY true /bin" }],
    })
    .to_string();
    let manifest =
        serde_json::json!([{ "Config": "c.json", "RepoTags": names, "Layers": ["l.tar"] }]).to_string();
    tar(&[("l.tar", &layer), ("c.json", config.as_bytes()), ("manifest.json", manifest.as_bytes())])
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}
