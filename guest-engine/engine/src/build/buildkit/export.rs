//! What becomes of a finished build: an image with names, or files for the client.

use super::client::{EntryKind, FileEntry};
use super::{
    BuildClient, Solved,
    passing::Passing,
    progress::Task,
    pull::{Pulling, credentials},
};
use crate::{
    build::{
        BuildFailure, Builder, Workspace,
        base::PullWatcher,
        blocking,
        classic::names,
        transfer::discard,
        tree::{Kind, Tree},
    },
    error::{EngineError, Result},
    id::random_id,
    image::{Assembled, PushRequest, progress},
};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek},
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
    /// Which path has a content first, by where that stands: the others are links to it.
    firsts: HashMap<u64, usize>,
    task: Option<Task>,
    started: SystemTime,
    _workspace: Workspace,
}

impl Builder {
    /// Makes an image of it, gives it names, and says its id. With its cache `inline`, later builds elsewhere may
    /// use it.
    pub async fn export_image(
        &self,
        solved: &Solved,
        tags: &[String],
        inline: bool,
    ) -> Result<String, BuildFailure> {
        let names = names(tags)?;
        let task = solved.teller.begin("exporting to image");
        let started = SystemTime::now();
        let exported = async {
            let held = self.images.hold_layers().await;
            let made = Passing::assemble(&self.images, solved.assembled(inline)).await;
            drop(held);
            let (id, passing) = made?;
            task.note("exporting layers", 0, started);
            task.note(format!("writing image {id}"), 0, started);
            for name in names {
                let full = name.to_string();
                self.images.give(name, &id).await?;
                task.note(format!("naming to {full}"), 0, started);
            }
            passing.stay();
            Ok::<_, EngineError>(id)
        }
        .await;
        task.ended(&exported);
        Ok(exported?)
    }

    /// The image as an archive that has these names in it. It stays no image of this engine, unless it is one.
    pub async fn export_archive(
        &self,
        solved: &Solved,
        tags: &[String],
        inline: bool,
        title: &str,
    ) -> Result<(String, BoxStream<'static, io::Result<Bytes>>), BuildFailure> {
        let names = names(tags)?;
        let task = solved.teller.begin(title);
        let exported = async {
            let held = self.images.hold_layers().await;
            let (id, passing) = Passing::assemble(&self.images, solved.assembled(inline)).await?;
            let stream = self.images.save_as(vec![(self.images.get(&id).await?, names)]).await?;
            drop(held);
            let end = stream::once(async move {
                passing.go().await;
                None
            });
            let whole = stream.map(Some).chain(end).filter_map(std::future::ready);
            Ok::<_, EngineError>((id, whole.boxed()))
        }
        .await;
        task.ended(&exported);
        Ok(exported?)
    }

    /// Pushes the finished image under its names.
    pub async fn push_image(
        &self,
        solved: &Solved,
        client: &dyn BuildClient,
        id: &str,
        tags: &[String],
    ) -> Result<(), BuildFailure> {
        for reference in names(tags)? {
            let task = solved.teller.begin(format!("pushing {reference}"));
            let mut watcher = Pulling::new(task);
            let credentials = credentials(client, reference.domain()).await?;
            let request = PushRequest { reference, credentials };
            let (sender, mut lines) = progress();
            let work = async {
                let pushed = self.images.push_as(&self.registries, id, &request, &sender).await;
                drop(sender);
                pushed
            };
            let relay = async {
                while let Some(line) = lines.recv().await {
                    watcher.tell(line);
                }
            };
            let (pushed, ()) = tokio::join!(work, relay);
            Box::new(watcher).ended(pushed.as_ref().err());
            pushed?;
        }
        Ok(())
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
                let firsts = firsts(&tree, &paths);
                Ok(Files { archive, tree, paths, firsts, task: Some(task), started, _workspace: workspace })
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

fn firsts(tree: &Tree, paths: &[String]) -> HashMap<u64, usize> {
    let mut firsts = HashMap::new();
    for (number, path) in paths.iter().enumerate() {
        if let Some(Kind::File { offset, length: 1.. }) = tree.get(path).map(|node| &node.kind) {
            firsts.entry(*offset).or_insert(number);
        }
    }
    firsts
}

impl Solved {
    fn assembled(&self, inline: bool) -> Assembled {
        let state = &self.state;
        Assembled {
            config: state.config.clone(),
            layers: state.layers.clone(),
            history: state.history.clone(),
            architecture: state.architecture.clone(),
            variant: state.variant.clone(),
            author: state.author.clone(),
            steps: self.inline(inline),
        }
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
            Kind::File { offset, length } => match self.firsts.get(offset) {
                Some(first) if *first < number && *length > 0 => {
                    EntryKind::SameAs { path: self.paths.get(*first)?.clone() }
                }
                _ => EntryKind::File { length: *length },
            },
            Kind::Link(target) => EntryKind::Link { target: target.clone() },
            Kind::Special(super::mirror::FIFO, ..) => EntryKind::Fifo,
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
