//! `COPY` and `ADD`: which files, where to, and a layer with just them.

use super::{
    BuildFailure, blocking, context,
    ignore::{glob, has_wildcards},
    instruction::Transfer,
    owner,
    run::noted,
    run_config::absolute,
    stage::{Build, State},
    tree::{Kind, Tree, clean},
    tree_tar::{Look, TreeWriter},
};
use crate::{
    error::{EngineError, Result},
    id::random_id,
    image::config::digest,
    ports::{LayerInfo, LayerStore, PathKind},
};
use std::{io::Write, sync::Arc};
use tokio_util::io::SyncIoBridge;

/// What waits for the unpacking side.
const PIPE: usize = 256 * 1024;

/// One thing to copy.
#[derive(Clone, Debug)]
struct Picked {
    tree: Arc<Tree>,
    /// As it was named: its last part is the file's name.
    name: String,
    /// The same without links.
    path: String,
    folder: bool,
    /// `ADD` of an archive from the context: its content.
    archive: Option<Arc<Tree>>,
    hash: String,
}

impl Build<'_> {
    pub(super) async fn transfer(
        &mut self,
        state: &mut State,
        transfer: &Transfer,
    ) -> Result<(), BuildFailure> {
        let keyword = if transfer.add { "ADD" } else { "COPY" };
        let mode = transfer.chmod.as_deref().map(octal).transpose()?;
        let mut picked = Vec::new();
        for source in &transfer.sources {
            picked.extend(self.pick(transfer, source, keyword).await?);
        }
        if picked.is_empty() {
            return Err(EngineError::invalid("No source files were specified").into());
        }
        if picked.len() > 1 && !transfer.destination.ends_with('/') {
            return Err(EngineError::invalid(format!(
                "When using {keyword} with more than one source file, the destination must be a directory and \
                 end with a /"
            ))
            .into());
        }
        let mut flags = String::new();
        if let Some(chown) = &transfer.chown {
            flags.push_str(&format!("--chown={chown} "));
        }
        if let Some(chmod) = &transfer.chmod {
            flags.push_str(&format!("--chmod={chmod} "));
        }
        let hashes: Vec<String> = picked.iter().map(|one| one.hash.clone()).collect();
        let hash = match hashes.as_slice() {
            [only] => only.clone(),
            several => digest(several.join(",").as_bytes()).replacen("sha256", "multi", 1),
        };
        let comment = format!("{keyword} {flags}{hash} in {} ", transfer.destination);
        let step = noted(&state.config, &comment, false);
        if self.cached(state, &step).await? {
            return Ok(());
        }
        let folder = state.config.working_dir.clone().unwrap_or_default();
        let mut destination = absolute(&folder, &transfer.destination);
        if transfer.destination.ends_with('/') && destination != "/" {
            destination.push('/');
        }
        let plan = Plan { picked, destination, chown: transfer.chown.clone(), mode };
        let layer = place(Arc::clone(&self.builder.layers), state.layers.clone(), plan);
        self.keep(state, step, None, layer).await?;
        Ok(())
    }

    async fn pick(&mut self, transfer: &Transfer, source: &str, keyword: &str) -> Result<Vec<Picked>> {
        if let Some(name) = source.strip_prefix("<<") {
            let name: String =
                name.trim_start_matches('-').chars().filter(|c| !matches!(c, '\'' | '"')).collect();
            let Some(heredoc) = transfer.heredocs.iter().find(|heredoc| heredoc.name == name) else {
                return Err(EngineError::invalid(format!("{source}: no such here-document")));
            };
            return self.document(&heredoc.name, heredoc.content.clone()).await;
        }
        if transfer.add && (source.starts_with("http://") || source.starts_with("https://")) {
            return Err(EngineError::not_implemented(format!(
                "ADD {source}: this engine does not download files while building yet; fetch it in a RUN step \
                 or put it into the context"
            )));
        }
        if transfer.add && (source.starts_with("git@") || source.starts_with("git://")) {
            return Err(EngineError::not_implemented(format!(
                "ADD {source}: git repositories require BuildKit"
            )));
        }
        let (tree, source) = match &transfer.from {
            Some(from) => self.other_tree(from, source).await?,
            None => (Arc::clone(&self.context), source.to_owned()),
        };
        let (add, keyword) = (transfer.add, keyword.to_owned());
        let spool = self.spool_path()?;
        blocking(move || pick_from(&tree, &source, add, &keyword, &spool)).await
    }

    /// A file that stands in the Dockerfile itself.
    async fn document(&mut self, name: &str, content: String) -> Result<Vec<Picked>> {
        let (path, name) = (self.spool_path()?, name.to_owned());
        blocking(move || {
            let failed = |e: std::io::Error| EngineError::system("Could not keep a here-document").because(e);
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, &name, content.as_bytes()).map_err(failed)?;
            let bytes = tar.into_inner().map_err(failed)?;
            let tree = Arc::new(Tree::open(context::spool(bytes.as_slice(), &path)?)?);
            pick_from(&tree, &name, false, "COPY", &path)
        })
        .await
    }

    /// Files of another stage or image, as far as `source` needs them.
    async fn other_tree(&mut self, from: &str, source: &str) -> Result<(Arc<Tree>, String)> {
        let layers = self.layers_of(from).await?;
        // Up to the first wildcard; the rest is looked for in what comes.
        let source = clean(source);
        let plain: Vec<&str> = source.split('/').take_while(|part| !has_wildcards(part)).collect();
        let base = plain.join("/");
        let rest = source[base.len()..].trim_start_matches('/').to_owned();
        let (store, id, path) = (Arc::clone(&self.builder.layers), random_id()?, self.spool_path()?);
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path);
        let file =
            file.map_err(|e| EngineError::system("Could not keep files of another stage").because(e))?;
        let copy = file.try_clone().map_err(|e| EngineError::system("Could not keep files").because(e))?;
        store.create_rootfs(&id, &layers).await?;
        let packed = async {
            store.mount_rootfs(&id).await?;
            let located = store.locate(&id, &base).await?;
            store.pack_path(&id, &base, copy).await?;
            Ok::<_, EngineError>(located.kind)
        }
        .await;
        discard(&*store, &id).await;
        let failed = |error: EngineError| match error.kind() {
            crate::ErrorKind::NotFound => {
                EngineError::invalid(format!("COPY failed: stat {base}: file does not exist"))
            }
            _ => error,
        };
        let kind = packed.map_err(failed)?;
        let tree = blocking(move || {
            let mut file = file;
            std::io::Seek::rewind(&mut file)
                .map_err(|e| EngineError::system("Could not read files").because(e))?;
            Tree::open(file)
        })
        .await?;
        let name = base.rsplit('/').next().unwrap_or_default().to_owned();
        let source = match kind {
            Some(PathKind::File) => name,
            _ if rest.is_empty() => ".".to_owned(),
            _ => rest,
        };
        Ok((Arc::new(tree), source))
    }
}

struct Plan {
    picked: Vec<Picked>,
    destination: String,
    chown: Option<String>,
    mode: Option<u32>,
}

/// Makes a layer over `layers` with the files.
async fn place(store: Arc<dyn LayerStore>, layers: Vec<String>, plan: Plan) -> Result<Option<LayerInfo>> {
    let id = random_id()?;
    store.create_rootfs(&id, &layers).await?;
    let made = async {
        store.mount_rootfs(&id).await?;
        let owner = match &plan.chown {
            None => (0, 0),
            Some(spec) => {
                let text =
                    |bytes: Option<Vec<u8>>| String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
                let passwd = text(store.read_file(&id, "/etc/passwd").await?);
                let group = text(store.read_file(&id, "/etc/group").await?);
                owner::parse(spec, &passwd, &group).map_err(EngineError::invalid)?
            }
        };
        let located = store.locate(&id, &plan.destination).await?;
        let look = Look { owner, mode: plan.mode };
        let target =
            Target { path: located.path, kind: located.kind, slash: plan.destination.ends_with('/') };
        let (write, read) = tokio::io::duplex(PIPE);
        let (picked, chown) = (plan.picked, plan.chown.is_some());
        let writing = blocking(move || {
            let to = std::io::BufWriter::with_capacity(PIPE, SyncIoBridge::new(write));
            write_all(&picked, &target, look, chown, to)
                .map_err(|e| EngineError::invalid("Could not read what is to be copied").because(e))
        });
        let (written, unpacked) = tokio::join!(writing, store.unpack_into(&id, Box::new(read)));
        // When unpacking fails, writing fails as well, for want of a reader.
        unpacked?;
        written?;
        store.commit_rootfs(&id, true).await.map(Some)
    }
    .await;
    discard(&*store, &id).await;
    made
}

/// A stage's working root filesystem, gone again. What is left is removed at the next start.
pub(super) async fn discard(store: &dyn LayerStore, id: &str) {
    if let Err(error) = store.remove_rootfs(id).await {
        tracing::warn!(%error, id, "A root filesystem of a build stays until the next start");
    }
}

struct Target {
    path: String,
    kind: Option<PathKind>,
    /// Written with a slash at its end: a folder, whatever is there.
    slash: bool,
}

fn write_all(
    picked: &[Picked],
    target: &Target,
    look: Look,
    chown: bool,
    to: impl Write,
) -> std::io::Result<()> {
    let mut writer = TreeWriter::new(to, look);
    let mut made = target.kind == Some(PathKind::Folder);
    let base = target.path.trim_end_matches('/');
    for one in picked {
        let into_folder = one.folder || one.archive.is_some();
        if into_folder && target.kind == Some(PathKind::File) {
            return Err(std::io::Error::other(format!("{} is not a directory", target.path)));
        }
        if !made && (into_folder || target.slash) {
            writer.folder(base, 0o755)?;
            made = true;
        }
        if let Some(archive) = &one.archive {
            for (path, node) in archive.below("") {
                writer.copy(archive, node, &format!("{base}/{path}"))?;
            }
        } else if one.folder {
            if chown && target.kind.is_none() && base.is_empty() {
                continue;
            }
            for (path, node) in one.tree.below(&one.path) {
                writer.copy(&one.tree, node, &format!("{base}/{path}"))?;
            }
        } else if let Some(node) = one.tree.get(&one.path) {
            let in_folder = target.slash || target.kind == Some(PathKind::Folder);
            let name = one.name.rsplit('/').next().unwrap_or_default();
            let path = if in_folder { format!("{base}/{name}") } else { target.path.clone() };
            writer.copy(&one.tree, node, &path)?;
        }
    }
    writer.finish()
}

fn pick_from(
    tree: &Arc<Tree>,
    source: &str,
    add: bool,
    keyword: &str,
    spool: &std::path::Path,
) -> Result<Vec<Picked>> {
    let missing = || {
        EngineError::invalid(format!(
            "{keyword} failed: file not found in build context or excluded by .dockerignore: stat {}: file does \
             not exist",
            clean(source)
        ))
    };
    let source = clean(source);
    if !has_wildcards(&source) {
        let path = tree.resolve(&source).ok_or_else(missing)?;
        return Ok(vec![one(tree, &source, path, add, spool)?]);
    }
    let pattern: Vec<&str> = source.split('/').collect();
    let matching: Vec<String> = tree
        .paths()
        .filter(|path| {
            let parts: Vec<&str> = path.split('/').collect();
            parts.len() == pattern.len() && pattern.iter().zip(parts).all(|(wanted, part)| glob(wanted, part))
        })
        .map(str::to_owned)
        .collect();
    let mut picked = Vec::new();
    for (number, name) in matching.into_iter().enumerate() {
        let path = tree.resolve(&name).ok_or_else(missing)?;
        picked.push(one(tree, &name, path, add, &spool.with_extension(number.to_string()))?);
    }
    Ok(picked)
}

fn one(tree: &Arc<Tree>, name: &str, path: String, add: bool, spool: &std::path::Path) -> Result<Picked> {
    let node = tree.get(&path);
    let folder = node.is_none_or(|node| node.kind == Kind::Folder);
    let hash = tree.checksum(&path)?;
    let mut archive = None;
    if let (true, Some(Kind::File { offset, length })) = (add, node.map(|node| &node.kind)) {
        let failed = |e: std::io::Error| EngineError::invalid(format!("ADD {name}")).because(e);
        if context::is_archive(tree.content(*offset, *length)).map_err(failed)? {
            let unpacked = context::spool(tree.content(*offset, *length), &spool.with_extension("add"))?;
            archive = Some(Arc::new(Tree::open(unpacked)?));
        }
    }
    let kind = if folder { "dir" } else { "file" };
    Ok(Picked {
        tree: Arc::clone(tree),
        name: name.to_owned(),
        path,
        folder,
        archive,
        hash: format!("{kind}:{hash}"),
    })
}

fn octal(text: &str) -> Result<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| {
        EngineError::invalid(format!("invalid --chmod value {text:?}: only octal numbers are supported"))
    })
}
