//! `COPY` and `ADD`: which files, where to, and a layer with just them.

use super::{
    BuildFailure, blocking,
    chmod::Chmod,
    context,
    front::{Made, StepKey, Trouble},
    ignore::{Ignore, glob, has_wildcards},
    instruction::Transfer,
    owner::{self, Names},
    placing::{Plan, place},
    remote::Remote,
    run::noted,
    run_config::absolute,
    stage::{Build, Source, Work},
    tree::{Kind, Tree, clean},
};
use crate::{
    error::{EngineError, Result},
    id::random_id,
    image::config::digest,
    ports::{LayerInfo, LayerStore, PathKind},
};
use std::{path::Path, sync::Arc};

/// One thing to copy.
#[derive(Clone, Debug)]
pub(super) struct Picked {
    pub(super) tree: Arc<Tree>,
    /// Where it goes below the destination, if that is a folder.
    pub(super) name: String,
    /// Without links.
    pub(super) path: String,
    pub(super) folder: bool,
    /// `ADD` of an archive: its content.
    pub(super) archive: Option<Arc<Tree>>,
    pub(super) hash: String,
}

/// How sources are looked for.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) keyword: &'static str,
    pub(super) unpack: bool,
    pub(super) parents: bool,
    pub(super) exclude: Arc<Ignore>,
    pub(super) spool: std::path::PathBuf,
}

impl Work<'_> {
    pub(super) async fn transfer(&mut self, transfer: &Transfer) -> Result<(), BuildFailure> {
        let keyword = if transfer.add { "ADD" } else { "COPY" };
        let mode = transfer.chmod.as_deref().map(Chmod::parse).transpose()?;
        let exclude = Arc::new(Ignore::parse(&transfer.exclude.join("\n")));
        let mut picked = Vec::new();
        for source in &transfer.sources {
            let manner = Manner {
                keyword,
                unpack: transfer.unpack.unwrap_or(transfer.add),
                parents: transfer.parents,
                exclude: Arc::clone(&exclude),
                spool: self.build.spool_path(),
            };
            picked.extend(self.pick(transfer, source, manner).await?);
        }
        let lenient = self.build.front.is_lenient();
        if picked.is_empty() && !lenient {
            return Err(
                EngineError::invalid(format!("{keyword} failed: no source files were specified")).into()
            );
        }
        if picked.len() > 1 && !lenient && !transfer.destination.ends_with('/') && !transfer.parents {
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
        let folder = self.state.config.working_dir.clone().unwrap_or_default();
        let mut destination = absolute(&folder, &transfer.destination);
        if (transfer.destination.ends_with('/') || transfer.parents) && destination != "/" {
            destination.push('/');
        }
        let comment = format!("{keyword} {flags}{hash} in {} ", transfer.destination);
        let key = StepKey {
            noted: noted(&self.state.config, &comment, false),
            created_by: described(keyword, transfer),
            content: format!("{keyword} {flags}{hash} {destination} {}", transfer.parents),
            link: transfer.link,
            transfer: true,
        };
        if self.found(&key).await? {
            return Ok(());
        }
        let layers = if transfer.link { Vec::new() } else { self.state.layers.clone() };
        let owner = self.owner(transfer).await?;
        let plan = Plan { picked, destination, owner, mode, exclude, lenient };
        let layer = place(Arc::clone(&self.build.builder.layers), layers, plan).await?;
        self.keep(key, Made { layer: Some(layer), container: None }).await
    }

    /// `--chown`: names mean what they mean in the stage.
    async fn owner(&self, transfer: &Transfer) -> Result<Option<(u32, u32)>> {
        let Some(spec) = &transfer.chown else { return Ok(None) };
        if let Some(numbers) = owner::numbers(spec) {
            return Ok(Some(numbers));
        }
        let (store, id) = (&self.build.builder.layers, random_id()?);
        store.create_rootfs(&id, &self.state.layers).await?;
        let read = async {
            store.mount_rootfs(&id).await?;
            Names::of(&**store, &id).await
        }
        .await;
        discard(&**store, &id).await;
        let names = read?;
        match self.build.front.is_lenient() {
            true => Ok(Some(owner::as_buildkit(spec, &names))),
            false => owner::parse(spec, &names).map(Some).map_err(EngineError::invalid),
        }
    }

    async fn pick(
        &self,
        transfer: &Transfer,
        source: &str,
        manner: Manner,
    ) -> Result<Vec<Picked>, BuildFailure> {
        if let Some(name) = source.strip_prefix("<<") {
            let name: String =
                name.trim_start_matches('-').chars().filter(|c| !matches!(c, '\'' | '"')).collect();
            let Some(heredoc) = transfer.heredocs.iter().find(|heredoc| heredoc.name == name) else {
                return Err(EngineError::invalid(format!("{source}: no such here-document")).into());
            };
            let (content, manner) = (heredoc.content.clone(), Manner { unpack: false, ..manner });
            let tree = self.one_file(&name, content.into_bytes()).await?;
            return self.picked_from(tree, name, manner, false).await;
        }
        // Where no scheme says so, it is a path.
        if transfer.add
            && !source.starts_with("github.com/")
            && let Some(remote) = Remote::of(source)?
        {
            return self.picked_from_elsewhere(transfer, &remote, manner).await;
        }
        if transfer.checksum.is_some() {
            return Err(EngineError::invalid(
                "checksum can't be specified for non-HTTP(S) & non-Git sources",
            )
            .into());
        }
        let Some(from) = &transfer.from else {
            if !self.build.front.is_lenient() && climbs_out(source) {
                return Err(EngineError::invalid(format!(
                    "{} failed: forbidden path outside the build context: {source} ()",
                    manner.keyword
                ))
                .into());
            }
            let tree = self.build.front.context(self.build, &self.step).await?;
            return self.picked_from(tree, source.to_owned(), manner, true).await;
        };
        let (tree, source) = match self.build.source_of(self.step.stage, from).await? {
            Source::Files(tree) => (tree, source.to_owned()),
            // Names with their folders need all of these.
            Source::Layers(layers) if manner.parents => {
                (self.build.files_of(&layers, "").await?.0, source.to_owned())
            }
            Source::Layers(layers) => self.build.sources_of(&layers, source).await.map_err(|error| {
                if error.kind() == crate::ErrorKind::NotFound {
                    let trouble = Trouble::NoSource { keyword: manner.keyword, path: source, context: false };
                    return self.build.front.trouble(trouble);
                }
                error
            })?,
        };
        self.picked_from(tree, source, manner, false).await
    }

    async fn picked_from(
        &self,
        tree: Arc<Tree>,
        source: String,
        manner: Manner,
        context: bool,
    ) -> Result<Vec<Picked>, BuildFailure> {
        let (keyword, path) = (manner.keyword, clean(&source));
        let picked = blocking(move || pick_from(&tree, &source, &manner)).await?;
        picked.ok_or_else(|| {
            self.build.front.trouble(Trouble::NoSource { keyword, path: &path, context }).into()
        })
    }

    /// A file that stands in the Dockerfile itself, or was downloaded.
    async fn one_file(&self, name: &str, content: Vec<u8>) -> Result<Arc<Tree>> {
        let (path, name) = (self.build.spool_path(), name.to_owned());
        blocking(move || {
            let failed = |e: std::io::Error| EngineError::system("Could not keep a here-document").because(e);
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_mtime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0));
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, &name, content.as_slice()).map_err(failed)?;
            let bytes = tar.into_inner().map_err(failed)?;
            Ok(Arc::new(Tree::open(context::spool(bytes.as_slice(), &path)?)?))
        })
        .await
    }

    /// A hash of the files that a bind mount shows.
    pub(super) async fn hash_of(&self, from: Option<&str>, source: &str) -> Result<String, BuildFailure> {
        let tree = match from {
            None => self.build.front.context(self.build, &self.step).await?,
            Some(from) => match self.build.source_of(self.step.stage, from).await? {
                Source::Files(tree) => tree,
                // Layers are named by their content.
                Source::Layers(layers) => return Ok(layers.join(" ")),
            },
        };
        let source = source.to_owned();
        Ok(blocking(move || tree.checksum(&tree.resolve(&source).unwrap_or_default(), &Ignore::default()))
            .await?)
    }
}

impl Build<'_> {
    /// Files of other layers, as far as `source` needs them, and what is then to be looked for.
    async fn sources_of(&self, layers: &[String], source: &str) -> Result<(Arc<Tree>, String)> {
        // Up to the first wildcard; the rest is looked for in what comes.
        let source = clean(source);
        let plain: Vec<&str> = source.split('/').take_while(|part| !has_wildcards(part)).collect();
        let base = plain.join("/");
        let rest = source[base.len()..].trim_start_matches('/').to_owned();
        let (tree, kind) = self.files_of(layers, &base).await?;
        let name = base.rsplit('/').next().unwrap_or_default().to_owned();
        let source = match kind {
            Some(PathKind::File) => name,
            _ if rest.is_empty() => ".".to_owned(),
            _ => rest,
        };
        Ok((tree, source))
    }

    /// What is at `path` in a stack of layers.
    pub(super) async fn files_of(
        &self,
        layers: &[String],
        path: &str,
    ) -> Result<(Arc<Tree>, Option<PathKind>)> {
        let (store, id, spool) = (Arc::clone(&self.builder.layers), random_id()?, self.spool_path());
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&spool);
        let file =
            file.map_err(|e| EngineError::system("Could not keep files of another stage").because(e))?;
        let copy = file.try_clone().map_err(|e| EngineError::system("Could not keep files").because(e))?;
        store.create_rootfs(&id, layers).await?;
        let packed = async {
            store.mount_rootfs(&id).await?;
            let located = store.locate(&id, path).await?;
            store.pack_path(&id, path, copy).await?;
            Ok::<_, EngineError>(located.kind)
        }
        .await;
        discard(&*store, &id).await;
        let kind = packed?;
        let tree = blocking(move || {
            let mut file = file;
            std::io::Seek::rewind(&mut file)
                .map_err(|e| EngineError::system("Could not read files").because(e))?;
            Tree::open(file)
        })
        .await?;
        Ok((Arc::new(tree), kind))
    }
}

/// A layer that is nothing but these files.
pub(super) async fn layer_of(build: &Build<'_>, tree: &Arc<Tree>) -> Result<LayerInfo> {
    let picked = vec![Picked {
        tree: Arc::clone(tree),
        name: String::new(),
        path: String::new(),
        folder: true,
        archive: None,
        hash: String::new(),
    }];
    let plan = Plan {
        picked,
        destination: "/".to_owned(),
        owner: None,
        mode: None,
        exclude: Arc::default(),
        lenient: true,
    };
    place(Arc::clone(&build.builder.layers), Vec::new(), plan).await
}

/// A stage's working root filesystem, gone again. What is left is removed at the next start.
pub(super) async fn discard(store: &dyn LayerStore, id: &str) {
    if let Err(error) = store.remove_rootfs(id).await {
        tracing::warn!(%error, id, "A root filesystem of a build stays until the next start");
    }
}

/// Whether a path leads above the folder that it begins in.
fn climbs_out(path: &str) -> bool {
    let mut depth = 0_i32;
    path.split('/').any(|part| {
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        depth < 0
    })
}

/// `None` when a source without wildcards is not there.
fn pick_from(tree: &Arc<Tree>, source: &str, manner: &Manner) -> Result<Option<Vec<Picked>>> {
    // `a/./b/c` with `--parents` keeps `b/c`.
    let pivot = source.find("/./").filter(|_| manner.parents).map(|at| clean(&source[..at]));
    let source = clean(source);
    let name_of = |path: &str| {
        if !manner.parents {
            return path.rsplit('/').next().unwrap_or_default().to_owned();
        }
        let below = pivot.as_ref().and_then(|pivot| path.strip_prefix(&format!("{pivot}/")));
        below.unwrap_or(path).to_owned()
    };
    if !has_wildcards(&source) {
        let Some(path) = tree.resolve(&source) else { return Ok(None) };
        return Ok(Some(vec![one(tree, name_of(&source), path, manner, &manner.spool)?]));
    }
    // Links on the way to the first wildcard are followed, and none behind it.
    let plain = source.split('/').take_while(|part| !has_wildcards(part)).collect::<Vec<_>>().join("/");
    let Some(real) = tree.resolve(&plain).filter(|_| !manner.parents).or_else(|| Some(plain.clone())) else {
        return Ok(Some(Vec::new()));
    };
    let source = clean(&format!("{real}{}", &source[plain.len()..]));
    let pattern: Vec<&str> = source.split('/').collect();
    let mut picked = Vec::new();
    for (number, found) in tree.paths().filter(|path| matches(&pattern, path)).enumerate() {
        let Some(path) = tree.resolve(found) else { return Ok(None) };
        let spool = manner.spool.with_extension(number.to_string());
        let one = one(tree, name_of(found), path, manner, &spool)?;
        if one.folder || !manner.exclude.matches(&one.name) {
            picked.push(one);
        }
    }
    Ok(Some(picked))
}

fn matches(pattern: &[&str], path: &str) -> bool {
    fn parts(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            ([], []) => true,
            (["**", rest @ ..], _) => (0..=path.len()).any(|skip| parts(rest, &path[skip..])),
            ([wanted, rest @ ..], [part, more @ ..]) => glob(wanted, part) && parts(rest, more),
            _ => false,
        }
    }
    parts(pattern, &path.split('/').collect::<Vec<_>>())
}

pub(super) fn one(
    tree: &Arc<Tree>,
    mut name: String,
    path: String,
    manner: &Manner,
    spool: &Path,
) -> Result<Picked> {
    let node = tree.get(&path);
    let folder = node.is_none_or(|node| node.kind == Kind::Folder);
    if folder && !manner.parents {
        name.clear();
    }
    let mut hash = tree.checksum(&path, &manner.exclude)?;
    if !folder || manner.parents {
        // What a file is called is part of what is copied: the destination may be a folder.
        hash = digest(format!("{name} {hash}").as_bytes()).split_off("sha256:".len());
    }
    let mut archive = None;
    if let (true, Some(Kind::File { offset, length })) = (manner.unpack, node.map(|node| &node.kind)) {
        let failed = |e: std::io::Error| EngineError::invalid(format!("ADD {name}")).because(e);
        if context::is_archive(tree.content(*offset, *length)).map_err(failed)? {
            let mut spool = spool.as_os_str().to_owned();
            spool.push(".add");
            let unpacked = context::spool(tree.content(*offset, *length), Path::new(&spool))?;
            archive = Some(Arc::new(Tree::open(unpacked)?));
        }
    }
    let kind = if folder { "dir" } else { "file" };
    Ok(Picked { tree: Arc::clone(tree), name, path, folder, archive, hash: format!("{kind}:{hash}") })
}

/// As the history of an image has it: what is copied, without where it is from.
fn described(keyword: &str, transfer: &Transfer) -> String {
    let mut said = keyword.to_owned();
    let flags = [("chown", &transfer.chown), ("chmod", &transfer.chmod), ("checksum", &transfer.checksum)];
    if transfer.parents {
        said.push_str(" --parents");
    }
    for (name, value) in flags {
        if let Some(value) = value {
            said.push_str(&format!(" --{name}={value}"));
        }
    }
    let (documents, paths): (Vec<&String>, Vec<&String>) =
        transfer.sources.iter().partition(|source| source.starts_with("<<"));
    for path in paths {
        said.push_str(&format!(" {path}"));
    }
    for document in documents {
        let name = document.trim_start_matches(['<', '-']).trim_matches(['"', '\'']);
        said.push_str(&format!(" <<{name}"));
    }
    format!("{said} {} # buildkit", transfer.destination)
}
