//! Unpacking, hostile archives, whiteouts and stacked root filesystems.

use engine::ports::LayerStore;
use engine_linux::OverlayLayers;
use futures_util::StreamExt;
use nix::mount::{MsFlags, mount, umount};
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::Cursor,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

pub(crate) struct Store {
    pub(crate) folder: TempDir,
    pub(crate) store: OverlayLayers,
}

impl Store {
    /// On a tmpfs of its own, so that it works wherever the tests run (an overlay cannot hold another's
    /// writable layer).
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("engine-linux-").tempdir().unwrap();
        mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let store = OverlayLayers::new(folder.path());
        Self { folder, store }
    }

    pub(crate) async fn apply(&self, tar: &[u8]) -> String {
        let digest = digest(tar);
        let layer = self.store.apply(Some(&digest), Box::new(Cursor::new(tar.to_vec()))).await.unwrap();
        assert_eq!(layer.diff_id, digest);
        assert_eq!(self.store.layer(&digest).await.unwrap().unwrap(), layer);
        digest
    }

    fn diff(&self, diff_id: &str) -> PathBuf {
        self.folder.path().join("layers/sha256").join(diff_id.strip_prefix("sha256:").unwrap()).join("diff")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _unmounted = umount(self.folder.path());
    }
}

fn digest(tar: &[u8]) -> String {
    let hex: String = Sha256::digest(tar).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

pub(crate) struct Tar(Builder<Vec<u8>>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn add(mut self, kind: EntryType, path: &str, mode: u32, content: &[u8], link: Option<&str>) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(1000);
        header.set_gid(50);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        // Past the checks of the builder: hostile names are the point.
        let name = path.as_bytes();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        if let Some(link) = link {
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        if matches!(kind, EntryType::Char) {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.add(EntryType::Regular, path, 0o644, content.as_bytes(), None)
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        self.add(EntryType::Directory, path, 0o755, b"", None)
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, path, 0o777, b"", Some(target))
    }

    fn hard_link(self, path: &str, target: &str) -> Self {
        self.add(EntryType::Link, path, 0o644, b"", Some(target))
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = self.0.into_inner().unwrap();
        // Padding is part of the digest.
        bytes.resize(bytes.len() + 10 * 512, 0);
        bytes
    }
}

#[tokio::test]
async fn everything_an_archive_says_is_kept() {
    let store = Store::new();
    let mut tar = Tar::new().folder("usr/").add(EntryType::Regular, "usr/su", 0o4755, b"12345", None);
    tar.0
        .append_pax_extensions([
            ("SCHILY.xattr.user.colour", b"blue".as_slice()),
            ("mtime", b"1600000000.25"),
        ])
        .unwrap();
    let tar = tar
        .file("usr/tagged", "x")
        .hard_link("usr/again", "usr/su")
        .symlink("bin", "usr")
        .add(EntryType::Char, "null", 0o666, b"", None)
        .add(EntryType::Fifo, "pipe", 0o600, b"", None)
        .file("deep/er/file", "abc");
    let id = store.apply(&tar.bytes()).await;
    let diff = store.diff(&id);
    let su = fs::metadata(diff.join("usr/su")).unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.len()), (0o4755, 1000, 50, 5));
    assert_eq!((su.mtime(), su.nlink()), (1_600_000_000, 2));
    assert_eq!(fs::metadata(diff.join("usr")).unwrap().mtime(), 1_600_000_000);
    let tagged = diff.join("usr/tagged");
    assert_eq!(fs::metadata(&tagged).unwrap().mtime_nsec(), 250_000_000);
    match xattr::get(&tagged, "user.colour") {
        Ok(value) => assert!(value.is_none_or(|value| value == b"blue")),
        Err(error) => panic!("{error}"),
    }
    assert_eq!(fs::read_link(diff.join("bin")).unwrap(), Path::new("usr"));
    let null = fs::symlink_metadata(diff.join("null")).unwrap();
    assert!(null.file_type().is_char_device() && null.rdev() == nix::sys::stat::makedev(1, 3));
    assert!(fs::symlink_metadata(diff.join("pipe")).unwrap().file_type().is_fifo());
    assert_eq!(store.store.layer(&id).await.unwrap().unwrap().size, 5 + 1 + 3 + "usr".len() as u64);
    store.store.remove_layer(&id).await.unwrap();
    assert_eq!(store.store.layer(&id).await.unwrap(), None);
    store.store.remove_layer(&id).await.unwrap();
}

#[tokio::test]
async fn hostile_archives_reach_nothing_outside() {
    let store = Store::new();
    let victim = store.folder.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("secret"), "secret").unwrap();
    let outside = victim.to_str().unwrap();
    for refused in [
        Tar::new().file("../victim/made", "x"),
        Tar::new().folder("a").file("a/../../victim/made", "x"),
        Tar::new().hard_link("stolen", "../victim/secret"),
        Tar::new().hard_link("stolen", &format!("{outside}/secret")),
        Tar::new().symlink("up", outside).hard_link("stolen", "up/secret"),
        Tar::new().symlink("up", outside).file("up/made", "x"),
        Tar::new().symlink("up", "../../../../../../..").hard_link("stolen", "up/etc/passwd"),
        Tar::new().add(EntryType::Symlink, "./", 0o777, b"", Some("/")),
    ] {
        let bytes = refused.bytes();
        let applied = store.store.apply(None, Box::new(Cursor::new(bytes))).await;
        assert!(applied.is_err(), "{applied:?}");
    }
    // Links as such are fine, and what goes through them stays in the layer.
    let id = store.apply(&Tar::new().folder("etc").symlink("up", "/etc").file("up/made", "x").bytes()).await;
    assert_eq!(fs::read_to_string(store.diff(&id).join("etc/made")).unwrap(), "x");
    // A link that is overwritten is replaced, not followed.
    let id =
        store.apply(&Tar::new().symlink("x", &format!("{outside}/secret")).file("x", "mine").bytes()).await;
    assert_eq!(fs::read_to_string(store.diff(&id).join("x")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(victim.join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
    // Nothing is left of what was refused.
    assert_eq!(fs::read_dir(store.folder.path().join("layers/tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing_and_concurrent_applies_unpack_once() {
    let store = Store::new();
    let tar = Tar::new().file("a", "x").bytes();
    let wrong = format!("sha256:{}", "0".repeat(64));
    let error = store.store.apply(Some(&wrong), Box::new(Cursor::new(tar.clone()))).await.unwrap_err();
    assert!(error.to_string().contains("does not match"), "{error}");
    assert_eq!(store.store.layer(&wrong).await.unwrap(), None);
    let id = digest(&tar);
    let apply = || store.store.apply(Some(&id), Box::new(Cursor::new(tar.clone())));
    let (first, second) = tokio::join!(apply(), apply());
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(store.store.apply(None, Box::new(Cursor::new(tar.clone()))).await.unwrap().diff_id, id);
}

#[tokio::test]
async fn layers_stack_with_whiteouts_and_the_container_writes_on_top() {
    let store = Store::new();
    let base = Tar::new()
        .folder("dir")
        .file("dir/gone", "1")
        .file("dir/kept", "2")
        .folder("opaque")
        .file("opaque/old", "3")
        .file("etc/passwd", "root")
        .symlink("etc/link", "/etc/passwd")
        .symlink("etc/evil", "../../../../../../../../etc/hostname");
    let upper = Tar::new()
        .file("dir/.wh.gone", "")
        .folder("opaque")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "4");
    let layers = [store.apply(&base.bytes()).await, store.apply(&upper.bytes()).await];
    store.store.create_rootfs("c1", &layers).await.unwrap();
    store.store.create_rootfs("c1", &layers).await.unwrap();
    let merged = store.store.mount_rootfs("c1").await.unwrap();
    assert_eq!(store.store.mount_rootfs("c1").await.unwrap(), merged);
    assert!(!merged.join("dir/gone").exists());
    assert!(merged.join("dir/kept").exists());
    let names = |path: &str| {
        let mut names: Vec<_> = fs::read_dir(merged.join(path))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("opaque"), ["new"]);
    assert_eq!(store.store.rootfs_size("c1").await.unwrap(), 0);
    fs::write(merged.join("written"), [0; 1000]).unwrap();
    assert_eq!(store.store.rootfs_size("c1").await.unwrap(), 1000);
    let read = async |path: &str| store.store.read_file("c1", path).await;
    assert_eq!(read("/etc/passwd").await.unwrap().unwrap(), b"root");
    assert_eq!(read("etc/link").await.unwrap().unwrap(), b"root");
    assert_eq!(read("/etc/evil").await.unwrap(), None);
    assert_eq!(read("/../../etc/passwd").await.unwrap().unwrap(), b"root");
    assert!(read("/etc").await.is_err());
    fs::write(merged.join("big"), vec![0; 1024 * 1024 + 1]).unwrap();
    assert!(read("big").await.is_err());
    assert_eq!(store.store.rootfs_ids().await.unwrap(), ["c1"]);

    store.store.unmount_rootfs("c1").await.unwrap();
    store.store.unmount_rootfs("c1").await.unwrap();
    store.store.mount_rootfs("c1").await.unwrap();
    assert!(merged.join("written").exists());
    store.store.remove_rootfs("c1").await.unwrap();
    store.store.remove_rootfs("c1").await.unwrap();
    assert!(store.store.rootfs_ids().await.unwrap().is_empty());
}

#[tokio::test]
async fn nothing_and_very_many_layers_can_be_mounted() {
    let store = Store::new();
    store.store.create_rootfs("scratch", &[]).await.unwrap();
    let merged = store.store.mount_rootfs("scratch").await.unwrap();
    fs::write(merged.join("x"), "x").unwrap();
    assert_eq!(fs::metadata(&merged).unwrap().permissions().mode() & 0o777, 0o755);
    store.store.remove_rootfs("scratch").await.unwrap();

    let mut layers = Vec::new();
    for number in 0..100 {
        layers.push(store.apply(&Tar::new().file(&format!("file-{number}"), "x").bytes()).await);
    }
    store.store.create_rootfs("tall", &layers).await.unwrap();
    let merged = store.store.mount_rootfs("tall").await.unwrap();
    assert_eq!(fs::read_dir(&merged).unwrap().count(), 100);
    store.store.remove_rootfs("tall").await.unwrap();
}

#[tokio::test]
async fn a_layers_tar_comes_back_byte_for_byte() {
    let store = Store::new();
    let long = "n".repeat(90);
    let mut tar = Tar::new()
        .folder("dir/")
        .file("dir/twice", "first")
        .file(&format!("dir/{long}"), &"large ".repeat(50_000))
        .hard_link("dir/link", "dir/twice")
        // Replaced by later entries: file by file, folder by file, file by folder.
        .file("dir/twice", "second, longer")
        .folder("dir/tree/")
        .file("dir/tree/leaf", "leaf")
        .file("dir/tree", "no folder any more")
        .file("plain", "plain")
        .folder("plain/")
        .symlink("sym", "dir")
        .file("sym/through", "a link")
        .file(".wh.gone", "")
        .file("empty", "")
        .bytes();
    // What follows the end of an archive belongs to it as well.
    tar.extend([0; 4096]);
    let digest = store.apply(&tar).await;
    assert_eq!(fs::read_to_string(store.diff(&digest).join("dir/twice")).unwrap(), "second, longer");
    assert_eq!(written(&store.store, &digest).await.unwrap(), tar);
    assert_eq!(store.store.layer_ids().await.unwrap(), std::slice::from_ref(&digest));

    fs::write(store.diff(&digest).join("dir/through"), "a lie!").unwrap();
    let damaged = written(&store.store, &digest).await.unwrap_err();
    assert!(damaged.contains("is damaged on disk"), "{damaged}");
}

async fn written(store: &OverlayLayers, digest: &str) -> Result<Vec<u8>, String> {
    let mut tar = store.layer_tar(digest).await.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    while let Some(piece) = tar.bytes.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| error.to_string())?);
    }
    assert_eq!(bytes.len() as u64, tar.size);
    Ok(bytes)
}

#[tokio::test]
async fn extended_headers_may_hold_newlines() {
    let mut tar = Tar::new().folder("d");
    let name = format!("d/new\nline-{}", "x".repeat(120));
    tar.0
        .append_pax_extensions([
            ("path", name.as_bytes()),
            ("SCHILY.xattr.user.bytes", b"\x01\n12 path=no\n".as_slice()),
            ("mtime", b"1500000000.25".as_slice()),
        ])
        .unwrap();
    let tar = tar.file("d/short", "content").file("d/next", "other").bytes();
    let store = Store::new();
    let layer = store.apply(&tar).await;
    let file = store.diff(&layer).join(&name);
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
    assert_eq!(fs::metadata(&file).unwrap().mtime_nsec(), 250_000_000);
    assert_eq!(fs::read_to_string(store.diff(&layer).join("d/next")).unwrap(), "other");
    let value = xattr::get(&file, "user.bytes").unwrap();
    assert!(value.is_none_or(|value| value == b"\x01\n12 path=no\n"), "or a file system without them");
    let bytes: Vec<u8> = store
        .store
        .layer_tar(&layer)
        .await
        .unwrap()
        .bytes
        .fold(Vec::new(), async |all, piece| [all, piece.unwrap().to_vec()].concat())
        .await;
    assert_eq!(bytes, tar, "the record holds what was there");
}
