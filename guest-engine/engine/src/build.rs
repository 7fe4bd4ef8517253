//! New images from old ones: `docker commit`, `docker import`, and the classic builder.
//!
//! ```text
//!  context ─▶ spool on disk, indexed ─┐             ┌ COPY, ADD: a root filesystem, files unpacked into it
//!  Dockerfile ─▶ lines ─▶ instructions ┴▶ stages ─▶ ┼ RUN: a process over the stage
//!                                                   └ the rest: configuration only
//!
//!  `classic`: stages in order, each step an image without a name, as dockerd's builder makes them
//!  `buildkit`: what BuildKit's clients get: stages side by side, steps in a cache of their own, one image
//! ```
//! Both are a [`front::Front`] to the same stages. Whatever a build needs besides lies in a folder of its own,
//! which goes with it.

mod arguments;
mod base;
pub mod buildkit;
mod check;
mod chmod;
mod classic;
mod commit;
mod context;
pub(crate) mod dockerfile;
mod elsewhere;
mod expand;
mod front;
pub(crate) mod ignore;
mod import;
pub(crate) mod instruction;
mod mount;
mod outline;
mod owner;
mod placing;
mod plan;
mod remote;
mod run;
mod run_config;
mod stage;
mod steps;
mod transfer;
mod tree;
mod tree_tar;

pub use commit::CommitRequest;
pub(crate) use context::plain;
pub use import::ImportRequest;
pub use stage::BuildRequest;

use crate::{
    container::Containers,
    error::{EngineError, Result},
    id::random_id,
    image::Images,
    ports::LayerStore,
    registry::Registries,
};
use std::{
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// In a build's folder: its containers, one a line.
const CONTAINERS: &str = "containers";

/// What a build says while it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The builder's own words and the output of what it runs.
    Output(String),
    /// Standard error of what it runs.
    Error(String),
    /// A stage is done and this is its image.
    Image(String),
    /// An image is being pulled.
    Pull(crate::image::Progress),
}

/// Why a build failed.
#[derive(Debug)]
pub struct BuildFailure {
    pub error: EngineError,
    /// Exit code of the command that failed, if one did.
    pub code: Option<i32>,
    /// First and last line of the instruction that failed, if one did.
    pub lines: Option<(usize, usize)>,
}

impl From<EngineError> for BuildFailure {
    fn from(error: EngineError) -> Self {
        Self { error, code: None, lines: None }
    }
}

/// Makes images.
#[derive(Debug)]
pub struct Builder {
    images: Arc<Images>,
    containers: Containers,
    layers: Arc<dyn LayerStore>,
    /// Folders of builds.
    root: PathBuf,
    /// Memory, for what must not reach a disk.
    secrets: PathBuf,
    registries: Arc<Registries>,
    mirrors: buildkit::Mirrors,
    caches: buildkit::Caches,
    shared_work: buildkit::SharedWork,
    fetcher: remote::Fetcher,
}

impl Builder {
    /// Removes what builds left that a crash interrupted.
    pub async fn open(
        data_root: &Path,
        run_root: &Path,
        images: Arc<Images>,
        containers: Containers,
        layers: Arc<dyn LayerStore>,
        registries: Arc<Registries>,
    ) -> Self {
        let (root, secrets) = (data_root.join("builds"), run_root.join("builds"));
        let left = containers_of(&root).await;
        if !left.is_empty() {
            tracing::info!(containers = ?left, "Containers of interrupted builds are removed");
        }
        for id in left {
            match containers.remove(&id, true, true).await {
                Err(error) if error.kind() != crate::ErrorKind::NotFound => {
                    tracing::warn!(%error, id, "A container of an interrupted build stays");
                }
                _ => {}
            }
        }
        for folder in [&root, &secrets] {
            match tokio::fs::remove_dir_all(folder).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "Leftovers of builds stay");
                }
                _ => {}
            }
        }
        let shared_work = buildkit::SharedWork::default();
        let mirrors = buildkit::Mirrors::new(root.join("contexts"));
        let caches = buildkit::Caches::new(data_root.join("build-caches"));
        let fetcher = remote::Fetcher::new();
        Self { images, containers, layers, root, secrets, registries, mirrors, caches, shared_work, fetcher }
    }

    /// Makes a folder that goes when the value does.
    async fn workspace(&self) -> Result<Workspace> {
        private_folder(&self.root).await
    }

    /// The same in memory.
    async fn secret_workspace(&self) -> Result<Workspace> {
        private_folder(&self.secrets).await
    }
}

/// Containers that builds were using, each written down in its build's folder.
async fn containers_of(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(mut folders) = tokio::fs::read_dir(root).await else { return found };
    while let Ok(Some(folder)) = folders.next_entry().await {
        if let Ok(text) = tokio::fs::read_to_string(folder.path().join(CONTAINERS)).await {
            found.extend(text.lines().map(str::to_owned));
        }
    }
    found
}

async fn private_folder(parent: &Path) -> Result<Workspace> {
    let folder = parent.join(random_id()?);
    let made = folder.clone();
    blocking(move || {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&made)
            .map_err(|e| EngineError::system("Could not make a folder for the build").because(e))
    })
    .await?;
    Ok(Workspace(folder))
}

/// A build's folder.
#[derive(Debug)]
struct Workspace(PathBuf);

impl Workspace {
    /// Writes down that a container is this build's, for an engine that comes after a crash.
    async fn note_container(&self, id: &str) -> Result<()> {
        let path = self.0.join(CONTAINERS);
        let line = format!("{id}\n");
        blocking(move || {
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(path)
                .and_then(|mut file| file.write_all(line.as_bytes()))
                .map_err(|e| EngineError::system("Could not note a build's container").because(e))
        })
        .await
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let folder = std::mem::take(&mut self.0);
        let remove = move || {
            if let Err(error) = std::fs::remove_dir_all(&folder) {
                tracing::warn!(%error, path = %folder.display(), "A build's folder stays until the next start");
            }
        };
        // Removing a large context takes its time.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Runs blocking work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| EngineError::system("A helper thread failed").because(e))?
}
