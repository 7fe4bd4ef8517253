//! Files of git repositories as entries of a [`Tree`](crate::build::tree::Tree): contents in a pack, the rest in
//! memory.

use crate::{
    build::tree::{ENTRIES, Kind, Node, PATH},
    error::{EngineError, Result},
};
use gix::{ObjectId, objs::tree::EntryKind};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::Path,
};

/// Folders in folders.
const DEPTH: usize = 200;

/// What has come so far.
pub(super) struct Entries {
    pack: File,
    length: u64,
    nodes: BTreeMap<String, Node>,
}

/// Where a submodule is to be.
pub(super) struct Link {
    pub(super) path: String,
    pub(super) commit: ObjectId,
}

impl Entries {
    pub(super) fn new(pack: &Path) -> Result<Self> {
        let pack = File::options().read(true).write(true).create_new(true).open(pack).map_err(unkept)?;
        Ok(Self { pack, length: 0, nodes: BTreeMap::new() })
    }

    pub(super) fn finish(self) -> (File, BTreeMap<String, Node>) {
        (self.pack, self.nodes)
    }

    /// Everything of a commit, below `prefix`; says which submodules it has.
    pub(super) fn add_tree(&mut self, tree: &gix::Tree<'_>, prefix: &str, time: i64) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        self.add_folder(tree, prefix, time, &mut links, 0)?;
        Ok(links)
    }

    fn add_folder(
        &mut self,
        tree: &gix::Tree<'_>,
        prefix: &str,
        time: i64,
        links: &mut Vec<Link>,
        depth: usize,
    ) -> Result<()> {
        for entry in tree.iter() {
            let entry =
                entry.map_err(|e| EngineError::invalid("Could not read the repository").because(e))?;
            let name = String::from_utf8_lossy(entry.filename()).into_owned();
            let path = format!("{prefix}{name}");
            let evil = name.is_empty() || name.contains('/') || matches!(name.as_str(), "." | "..");
            if evil || name.eq_ignore_ascii_case(".git") {
                return Err(EngineError::invalid(format!("the repository has a file called {path:?}")));
            }
            if depth > DEPTH || path.len() > PATH || self.nodes.len() > ENTRIES {
                return Err(EngineError::invalid("The repository has too many files, or too long names"));
            }
            if entry.kind() == EntryKind::Commit {
                self.nodes.insert(path.clone(), node(Kind::Folder, 0o755, time));
                links.push(Link { path, commit: entry.object_id() });
                continue;
            }
            let object = entry
                .object()
                .map_err(|e| EngineError::invalid("Could not read the repository").because(e))?;
            let (kind, mode) = match entry.kind() {
                EntryKind::Tree => {
                    self.nodes.insert(path.clone(), node(Kind::Folder, 0o755, time));
                    let below = format!("{path}/");
                    self.add_folder(&object.into_tree(), &below, time, links, depth + 1)?;
                    continue;
                }
                EntryKind::Link => (Kind::Link(String::from_utf8_lossy(&object.data).into_owned()), 0o777),
                EntryKind::BlobExecutable => (self.content(&object.data)?, 0o755),
                _ => (self.content(&object.data)?, 0o644),
            };
            self.nodes.insert(path, node(kind, mode, time));
        }
        Ok(())
    }

    /// The repository itself as `.git`, such that git finds the files unchanged.
    pub(super) fn add_repository(
        &mut self,
        repository: &gix::Repository,
        mut index: gix::index::File,
        commit: ObjectId,
        url: &str,
        time: i64,
    ) -> Result<()> {
        let folder = repository.git_dir().to_owned();
        index
            .write(gix::index::write::Options::default())
            .map_err(|e| EngineError::system("Could not write the index").because(e))?;
        let head = format!("{commit}\n");
        let config = format!(
            "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n[remote \"origin\"]\n\turl = {url}\n\
             \tfetch = +refs/heads/*:refs/remotes/origin/*\n"
        );
        for (name, text) in [("HEAD", &head), ("config", &config), ("FETCH_HEAD", &head)] {
            std::fs::write(folder.join(name), text).map_err(unkept)?;
        }
        self.add_files(&folder, ".git", time, 0)
    }

    fn add_files(&mut self, folder: &Path, path: &str, time: i64, depth: usize) -> Result<()> {
        self.nodes.insert(path.to_owned(), node(Kind::Folder, 0o755, time));
        for entry in std::fs::read_dir(folder).map_err(unkept)? {
            let entry = entry.map_err(unkept)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let (from, path) = (entry.path(), format!("{path}/{name}"));
            let kind = entry.file_type().map_err(unkept)?;
            // Submodules' own repositories lie in that of their parent.
            if kind.is_dir()
                && depth < DEPTH
                && !(depth == 0 && name.starts_with("module-"))
                && name != "hooks"
            {
                self.add_files(&from, &path, time, depth + 1)?;
            } else if kind.is_file() {
                let offset = self.length;
                self.length +=
                    io::copy(&mut File::open(&from).map_err(unkept)?, &mut self.pack).map_err(unkept)?;
                let kind = Kind::File { offset, length: self.length - offset };
                self.nodes.insert(path, node(kind, 0o644, time));
            }
        }
        Ok(())
    }

    fn content(&mut self, data: &[u8]) -> Result<Kind> {
        let offset = self.length;
        self.pack.write_all(data).map_err(unkept)?;
        self.length += data.len() as u64;
        Ok(Kind::File { offset, length: data.len() as u64 })
    }
}

fn node(kind: Kind, mode: u32, time: i64) -> Node {
    Node { kind, mode, modified: (time, 0), ..Node::folder() }
}

fn unkept(error: io::Error) -> EngineError {
    EngineError::system("Could not keep files of a repository").because(error)
}
