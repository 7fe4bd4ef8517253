//! What becomes of a finished build: an image with names, or files for the client.

use super::client::{EntryKind, FileEntry};
use super::{Solved, progress::Task};
use crate::{
    build::{
        BuildFailure, Builder, Workspace, blocking,
        classic::names,
        transfer::discard,
        tree::{Kind, Tree},
    },
    error::{EngineError, Result},
    id::random_id,
    image::Assembled,
};
use std::{
    fs::File,
    io::{Read, Seek},
    sync::Arc,
    time::SystemTime,
};

/// The files of a finished build, as an archive and with its index.
#[derive(Debug)]
pub struct Files {
    archive: File,
    tree: Arc<Tree>,
    /// In the order that clients want: a folder's content right after it.
    paths: Vec<String>,
    task: Option<Task>,
    started: SystemTime,
    _workspace: Workspace,
}

impl Builder {
    /// Makes an image of it, gives it names, and says its id.
    pub async fn export_image(&self, solved: &Solved, tags: &[String]) -> Result<String, BuildFailure> {
        let names = names(tags)?;
        let task = solved.teller.begin("exporting to image");
        let started = SystemTime::now();
        let exported = async {
            let state = &solved.state;
            let assembled = Assembled {
                config: state.config.clone(),
                layers: state.layers.clone(),
                history: state.history.clone(),
                architecture: state.architecture.clone(),
                variant: state.variant.clone(),
                author: state.author.clone(),
            };
            let held = self.images.hold_layers().await;
            let id = self.images.assemble(assembled).await;
            drop(held);
            let id = id?;
            task.note("exporting layers", 0, started);
            task.note(format!("writing image {id}"), 0, started);
            for name in names {
                let full = name.to_string();
                self.images.give(name, &id).await?;
                task.note(format!("naming to {full}"), 0, started);
            }
            Ok::<_, EngineError>(id)
        }
        .await;
        task.ended(&exported);
        Ok(exported?)
    }

    /// The files of the target stage.
    pub async fn export_files(&self, solved: &Solved, title: &str) -> Result<Files, BuildFailure> {
        let task = solved.teller.begin(title);
        let started = SystemTime::now();
        let packed = self.pack(solved).await;
        match packed {
            Ok((workspace, archive, tree)) => {
                let mut paths: Vec<String> =
                    tree.paths().filter(|path| !path.is_empty()).map(str::to_owned).collect();
                paths.sort_by(|a, b| a.split('/').cmp(b.split('/')));
                Ok(Files { archive, tree, paths, task: Some(task), started, _workspace: workspace })
            }
            Err(error) => {
                task.failed(&error);
                Err(error.into())
            }
        }
    }

    async fn pack(&self, solved: &Solved) -> Result<(Workspace, File, Arc<Tree>)> {
        let (workspace, store, id) = (self.workspace().await?, &self.layers, random_id()?);
        let failed = |e: std::io::Error| EngineError::system("Could not pack the build's files").because(e);
        let path = workspace.0.join("files.tar");
        let file = File::options().read(true).write(true).create_new(true).open(path).map_err(failed)?;
        let copy = file.try_clone().map_err(failed)?;
        store.create_rootfs(&id, &solved.state.layers).await?;
        let packed = async {
            store.mount_rootfs(&id).await?;
            store.pack_path(&id, "/", copy).await
        }
        .await;
        discard(&**store, &id).await;
        packed?;
        let (archive, tree) = blocking(move || {
            let mut archive = file;
            archive.rewind().map_err(failed)?;
            let tree = Arc::new(Tree::open(archive.try_clone().map_err(failed)?)?);
            archive.rewind().map_err(failed)?;
            Ok((archive, tree))
        })
        .await?;
        Ok((workspace, archive, tree))
    }
}

impl Files {
    /// Everything as one archive, from where it was last read.
    pub fn archive(&mut self) -> &mut File {
        &mut self.archive
    }

    /// How many entries there are.
    pub fn count(&self) -> usize {
        self.paths.len()
    }

    /// One of them.
    pub fn entry(&self, number: usize) -> Option<FileEntry> {
        let path = self.paths.get(number)?;
        let node = self.tree.get(path)?;
        let kind = match &node.kind {
            Kind::Folder => EntryKind::Folder,
            Kind::File { length, .. } => EntryKind::File { length: *length },
            Kind::Link(target) => EntryKind::Link { target: target.clone() },
            Kind::Special(..) => EntryKind::Other,
        };
        let (seconds, nanoseconds) = node.modified;
        Some(FileEntry {
            path: path.clone(),
            kind,
            mode: node.mode,
            modified: seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.into()),
            attributes: node.attributes.clone(),
        })
    }

    /// Its content, if it is a file.
    pub fn content(&self, number: usize) -> Option<impl Read + '_> {
        match self.tree.get(self.paths.get(number)?)?.kind {
            Kind::File { offset, length } => Some(self.tree.content(offset, length)),
            _ => None,
        }
    }

    /// All of it has been taken.
    pub fn done(mut self, bytes: u64) {
        if let Some(task) = self.task.take() {
            task.note("copying files", bytes, self.started);
            task.done();
        }
    }
}
