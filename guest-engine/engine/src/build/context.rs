//! A build's context: the stream of an archive, kept on disk uncompressed and indexed.

use super::{
    Workspace, blocking,
    ignore::Ignore,
    tree::{Kind, Node, Tree},
};
use crate::{
    compression::{self, Compression},
    error::{EngineError, Result},
    image::load::pipe,
};
use bytes::Bytes;
use futures_util::Stream;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Cursor, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// Bytes of a Dockerfile or an ignore file.
const TEXT: u64 = 4 << 20;
/// Bytes of an uncompressed context: what a bomb may fill.
const LARGEST: u64 = 64 << 30;

/// Where the Dockerfile comes from and what can be copied.
#[derive(Debug)]
pub(super) struct Context {
    pub tree: Tree,
    pub dockerfile: String,
}

/// Takes a context in. Fails when the stream breaks off.
pub(super) async fn receive(
    workspace: &Workspace,
    source: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    dockerfile: String,
) -> Result<Context> {
    let path = workspace.0.join("context.tar");
    spooled(source, path, move |spool| of_archive(spool, &dockerfile)).await
}

/// The same of what a user fed into the client: an archive, or only a Dockerfile.
pub(super) async fn take(
    source: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    path: PathBuf,
    dockerfile: String,
) -> Result<Context> {
    let read = |mut file: File, dockerfile: &str| -> io::Result<(bool, File, String)> {
        let archive = is_archive(&mut file)?;
        file.rewind()?;
        let mut text = Vec::new();
        if !archive {
            Read::by_ref(&mut file).take(TEXT).read_to_end(&mut text)?;
        }
        let text = if archive { dockerfile.to_owned() } else { String::from_utf8_lossy(&text).into_owned() };
        Ok((archive, file, text))
    };
    spooled(source, path, move |spool| {
        let failed = |e: io::Error| EngineError::invalid("Could not read the build context").because(e);
        match read(spool, &dockerfile).map_err(failed)? {
            (true, spool, name) => of_archive(spool, &name),
            (false, spool, text) => {
                Ok(Context { tree: Tree::of(spool, BTreeMap::new(), None), dockerfile: text })
            }
        }
    })
    .await
}

/// An archive's files, or the one file `name` that the stream is.
pub(super) async fn take_files(
    source: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    path: PathBuf,
    name: String,
) -> Result<Tree> {
    spooled(source, path, move |mut spool| {
        let failed = |e: io::Error| EngineError::invalid("Could not read the download").because(e);
        let archive = is_archive(&mut spool).map_err(failed)?;
        spool.rewind().map_err(failed)?;
        if archive {
            return Tree::open(spool);
        }
        let length = spool.metadata().map_err(failed)?.len();
        let kind = Kind::File { offset: 0, length };
        let node = Node { kind, mode: 0o600, ..Node::folder() };
        Ok(Tree::of(spool, BTreeMap::from([(name, node)]), None))
    })
    .await
}

async fn spooled<T: Send + 'static>(
    source: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    path: PathBuf,
    read: impl FnOnce(File) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (feed, reader) = pipe::feed(source);
    let spooled = blocking(move || read(spool(reader, &path)?));
    // Whichever ends first: the reader stops early when the context is bad.
    let (_, spooled) = tokio::join!(feed, spooled);
    spooled
}

fn of_archive(spool: File, dockerfile: &str) -> Result<Context> {
    of_tree(Tree::open(spool)?, dockerfile)
}

/// Finds the Dockerfile in the files.
pub(super) fn of_tree(mut tree: Tree, dockerfile: &str) -> Result<Context> {
    let name = super::tree::clean(dockerfile);
    let Some(text) = tree.text(&name, TEXT)? else {
        return Err(EngineError::invalid(format!("Cannot locate specified Dockerfile: {dockerfile}")));
    };
    if text.trim().is_empty() {
        return Err(EngineError::invalid(format!("the Dockerfile ({dockerfile}) cannot be empty")));
    }
    leave_out(&mut tree, &name)?;
    Ok(Context { tree, dockerfile: text })
}

/// Clients must send the Dockerfile and the ignore file even when these are to be ignored.
fn leave_out(tree: &mut Tree, dockerfile: &str) -> Result<()> {
    let Some(text) = tree.text(".dockerignore", TEXT)? else { return Ok(()) };
    let ignore = Ignore::parse(&text);
    for path in [dockerfile, ".dockerignore"] {
        if ignore.matches(path) {
            tree.forget(path);
        }
    }
    Ok(())
}

/// Writes a stream to a file, uncompressed, and gives that file, to be read from its start.
pub(super) fn spool(source: impl Read, path: &Path) -> Result<File> {
    let failed = |error: io::Error| EngineError::system("Could not keep the build context").because(error);
    let broken = |error: io::Error| EngineError::invalid("Could not read the build context").because(error);
    let mut file = File::options().read(true).write(true).create_new(true).open(path).map_err(failed)?;
    let mut source = plain(source).map_err(broken)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut written = 0;
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        };
        written += read as u64;
        if written > LARGEST {
            return Err(EngineError::invalid(format!("the build context is larger than {LARGEST} bytes")));
        }
        file.write_all(&buffer[..read]).map_err(failed)?;
    }
    file.rewind().map_err(failed)?;
    Ok(file)
}

/// The content of a stream that may be compressed.
pub(crate) fn plain<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::with_capacity(compression::HEAD);
    source.by_ref().take(compression::HEAD as u64).read_to_end(&mut head)?;
    let compression = Compression::of(&head);
    let whole = Cursor::new(head).chain(source);
    match compression {
        Some(compression) => compression.decoder(whole),
        None => Ok(Box::new(whole)),
    }
}

/// Whether a file is an archive that `ADD` unpacks: what is in it after decompression has a tar header.
pub(super) fn is_archive(source: impl Read) -> io::Result<bool> {
    let mut head = Vec::new();
    let read = plain(source)?.take(512).read_to_end(&mut head);
    // A file that merely begins like a compressed one is a file.
    if read.is_err() || head.len() < 512 {
        return Ok(false);
    }
    let sum: u32 = head
        .iter()
        .enumerate()
        .map(|(index, byte)| if (148..156).contains(&index) { 32 } else { u32::from(*byte) })
        .sum();
    let stated = String::from_utf8_lossy(&head[148..156]);
    let stated = stated.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    Ok(u32::from_str_radix(stated, 8).is_ok_and(|stated| stated == sum))
}
