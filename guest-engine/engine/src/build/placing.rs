//! Putting picked files where a `COPY` wants them: a layer with just these.

use super::{
    blocking,
    chmod::Chmod,
    ignore::Ignore,
    transfer::{Picked, discard},
    tree::{Node, Tree},
    tree_tar::{Look, TreeWriter},
};
use crate::{
    error::{EngineError, Result},
    id::random_id,
    ports::{LayerInfo, LayerStore, PathKind},
};
use std::{
    collections::BTreeSet,
    io::{self, BufWriter, Write},
    sync::Arc,
};
use tokio_util::io::SyncIoBridge;

/// What waits for the unpacking side.
const PIPE: usize = 256 * 1024;

/// What goes where.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) picked: Vec<Picked>,
    /// Absolute; with a slash at its end it is a folder, whatever is there.
    pub(super) destination: String,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mode: Option<Chmod>,
    pub(super) exclude: Arc<Ignore>,
    /// As BuildKit has it, not as the classic builder has.
    pub(super) lenient: bool,
}

/// Makes a layer over `layers` with the files.
pub(super) async fn place(store: Arc<dyn LayerStore>, layers: Vec<String>, plan: Plan) -> Result<LayerInfo> {
    let id = random_id()?;
    store.create_rootfs(&id, &layers).await?;
    let made = async {
        store.mount_rootfs(&id).await?;
        let located = store.locate(&id, &plan.destination).await?;
        let missing = match located.kind {
            Some(_) => Vec::new(),
            None => missing_above(&*store, &id, &located.path).await?,
        };
        let slash = plan.destination.ends_with('/');
        let target = Target { path: located.path, kind: located.kind, slash, missing };
        let (write, read) = tokio::io::duplex(PIPE);
        // Archives replace whatever is there.
        let keep_kinds = plan.lenient && plan.picked.iter().all(|one| one.archive.is_none());
        let writing = blocking(move || {
            let to = BufWriter::with_capacity(PIPE, SyncIoBridge::new(write));
            write_all(&plan, &target, to).map_err(|error| match error.kind() {
                io::ErrorKind::NotADirectory => EngineError::invalid(error.to_string()),
                _ => EngineError::invalid("Could not read what is to be copied").because(error),
            })
        });
        let (written, unpacked) = tokio::join!(writing, store.unpack_into(&id, Box::new(read), keep_kinds));
        // When unpacking fails, writing fails as well, for want of a reader.
        unpacked?;
        written?;
        store.commit_rootfs(&id, true).await
    }
    .await;
    discard(&*store, &id).await;
    made
}

/// The folders above a path that have to be made, the outermost first.
pub(super) async fn missing_above(store: &dyn LayerStore, id: &str, path: &str) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    let mut path = path.trim_end_matches('/');
    while let Some((parent, _)) = path.rsplit_once('/') {
        if parent.is_empty() || store.locate(id, parent).await?.kind.is_some() {
            break;
        }
        missing.insert(0, parent.to_owned());
        path = parent;
    }
    Ok(missing)
}

/// Unpacks a whole tree into a mounted root filesystem.
pub(super) async fn pour(store: &dyn LayerStore, id: &str, tree: Arc<Tree>) -> Result<()> {
    let (write, read) = tokio::io::duplex(PIPE);
    let writing = blocking(move || {
        let to = BufWriter::with_capacity(PIPE, SyncIoBridge::new(write));
        let mut writer = TreeWriter::new(to);
        let copied = |(path, node)| writer.copy(&tree, node, path, Look::default());
        let written = tree.below("").try_for_each(copied);
        written
            .and_then(|()| writer.finish())
            .map_err(|e| EngineError::invalid("Could not read what is to be mounted").because(e))
    });
    let (written, unpacked) = tokio::join!(writing, store.unpack_into(id, Box::new(read), false));
    unpacked?;
    written
}

struct Target {
    path: String,
    kind: Option<PathKind>,
    slash: bool,
    /// Folders above that are not there yet.
    missing: Vec<String>,
}

fn write_all(plan: &Plan, target: &Target, to: impl Write) -> io::Result<()> {
    let mut writer = TreeWriter::new(to);
    let look = Look { owner: plan.owner, mode: plan.mode.as_ref() };
    let base = target.path.trim_end_matches('/');
    // The classic builder gives the owner only what it makes for files, and the folder that another becomes.
    let archive = plan.picked.iter().any(|one| one.archive.is_some());
    let file = plan.picked.iter().any(|one| !one.folder && one.archive.is_none());
    for folder in &target.missing {
        writer.folder(folder, plan.owner.filter(|_| plan.lenient || file), None)?;
    }
    let mut made = target.kind == Some(PathKind::Folder);
    // What was picked before is a file there.
    let mut is_file = false;
    let mut above = BTreeSet::new();
    for one in &plan.picked {
        let into_folder = one.folder || one.archive.is_some();
        if into_folder && (target.kind == Some(PathKind::File) || (plan.lenient && is_file)) {
            let told = format!("cannot copy to non-directory: {}", target.path);
            return Err(io::Error::new(io::ErrorKind::NotADirectory, told));
        }
        if !made && (into_folder || target.slash) {
            let owner = plan.owner.filter(|_| plan.lenient || !archive);
            writer.folder(base, owner, plan.age(one))?;
            made = true;
        }
        writer.apart();
        // With `--parents` the folders above are copied as well.
        for (name, node) in one.folders_above() {
            if above.insert(name) {
                writer.copy(&one.tree, node, &format!("{base}/{name}"), look)?;
            }
        }
        if let Some(archive) = &one.archive {
            for (path, node) in archive.below("") {
                writer.copy(archive, node, &format!("{base}/{path}"), Look::default())?;
            }
        } else if one.folder {
            let mut base = base.to_owned();
            // A folder keeps its name only with `--parents`.
            if !one.name.is_empty() {
                base = format!("{base}/{}", one.name);
                match one.tree.get(&one.path) {
                    Some(node) => writer.copy(&one.tree, node, &base, look)?,
                    None => writer.folder(&base, plan.owner, None)?,
                }
            }
            for (path, node) in one.tree.below(&one.path) {
                if !plan.exclude.matches(path) {
                    writer.copy(&one.tree, node, &format!("{base}/{path}"), look)?;
                }
            }
        } else if let Some(node) = one.tree.get(&one.path) {
            let in_folder = target.slash || target.kind == Some(PathKind::Folder);
            let path = if in_folder { format!("{base}/{}", one.name) } else { target.path.clone() };
            writer.copy(&one.tree, node, &path, look)?;
            is_file = !in_folder;
        }
    }
    writer.finish()
}

impl Picked {
    /// The folders that it keeps above it, the outermost first. Those that links lead to stay behind.
    fn folders_above(&self) -> impl Iterator<Item = (&str, &Node)> {
        let root = self.path.strip_suffix(&self.name).filter(|root| root.is_empty() || root.ends_with('/'));
        let above = self.name.match_indices('/').map(|(end, _)| &self.name[..end]);
        above.filter_map(move |name| Some((name, self.tree.get(&format!("{}{name}", root?))?)))
    }
}

impl Plan {
    /// How old the folder is to be that is made for what was picked; `None` for new.
    fn age(&self, one: &Picked) -> Option<(i64, u32)> {
        let own = one.folder && one.name.is_empty() && !one.path.is_empty();
        one.tree.get(&one.path).filter(|_| self.lenient && own).map(|node| node.modified)
    }
}
