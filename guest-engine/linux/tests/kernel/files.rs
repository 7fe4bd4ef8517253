//! Looking into root filesystems from outside, while whoever is inside works against it.

use crate::layers::{Store, Tar};
use engine::ports::{ChangeKind, ContainerFiles, Extraction, LayerStore, View, ViewMount};
use futures_util::TryStreamExt;
use std::{
    fs,
    io::Cursor,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

fn into(path: &str) -> Extraction {
    Extraction { path: path.to_owned(), keep_kinds: false, owner: None }
}

impl Store {
    async fn extract(&self, view: View, path: &str, tar: Tar) -> engine::error::Result<Option<()>> {
        let bytes = tar.bytes();
        let source = Box::new(move || Ok(Box::new(Cursor::new(bytes)) as Box<dyn std::io::Read>));
        self.store.extract("c1", view, into(path), source).await
    }

    async fn names(&self, view: View, path: &str) -> Vec<String> {
        let (_, stream) = self.store.archive("c1", view, path).await.unwrap().unwrap();
        let pieces: Vec<bytes::Bytes> = stream.try_collect().await.unwrap();
        let bytes = pieces.concat();
        let mut archive = tar::Archive::new(bytes.as_slice());
        archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect()
    }
}

#[tokio::test]
async fn changes_are_what_differs_from_the_image() {
    let store = Store::new();
    let base =
        Tar::new().folder("dir").file("dir/a", "1").file("dir/b", "2").folder("same").file("same/x", "3");
    let layers = [store.apply(&base.bytes()).await];
    store.store.create_rootfs("c1", &layers).await.unwrap();
    store.store.add_base_files("c1").await.unwrap();
    let merged = store.store.mount_rootfs("c1").await.unwrap();
    assert!(merged.join(".dockerenv").exists() && merged.join("etc/hosts").exists());
    assert!(store.store.changes("c1").await.unwrap().is_empty());
    assert_eq!(store.store.rootfs_size("c1").await.unwrap(), 0);

    fs::write(merged.join("dir/a"), "changed").unwrap();
    fs::remove_dir_all(merged.join("same")).unwrap();
    fs::create_dir(merged.join("same")).unwrap();
    fs::write(merged.join("new"), "").unwrap();
    fs::remove_file(merged.join(".dockerenv")).unwrap();
    let found: Vec<(String, ChangeKind)> =
        store.store.changes("c1").await.unwrap().into_iter().map(|c| (c.path, c.kind)).collect();
    let expected = [
        ("/.dockerenv", ChangeKind::Deleted),
        ("/dir", ChangeKind::Modified),
        ("/dir/a", ChangeKind::Modified),
        ("/new", ChangeKind::Added),
        ("/same", ChangeKind::Modified),
        ("/same/x", ChangeKind::Deleted),
    ];
    // Whether the file system notes a time for the folder of a changed file is its business.
    let found: Vec<_> = found.iter().map(|(path, kind)| (path.as_str(), *kind)).collect();
    let without = |list: &[(&'static str, ChangeKind)]| {
        list.iter().filter(|(path, _)| *path != "/dir").copied().collect::<Vec<_>>()
    };
    assert_eq!(found.into_iter().filter(|(path, _)| *path != "/dir").collect::<Vec<_>>(), without(&expected));
}

#[tokio::test]
async fn mounts_are_seen_only_by_who_looks() {
    let store = Store::new();
    store.store.create_rootfs("c1", &[]).await.unwrap();
    let volume = store.folder.path().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("inside"), "x").unwrap();
    let mount = |read_only| ViewMount {
        source: volume.clone(),
        destination: "/mnt/vol".to_owned(),
        read_only,
        recursive: true,
    };
    let view = |read_only| View { read_only: false, mounts: vec![mount(read_only)] };
    assert_eq!(store.names(view(false), "/mnt").await, ["mnt/", "mnt/vol/", "mnt/vol/inside"]);
    assert_eq!(store.names(view(false), "/mnt/vol/.").await, ["./", "./inside"]);
    store.extract(view(false), "/mnt/vol", Tar::new().file("put", "y")).await.unwrap().unwrap();
    assert_eq!(fs::read_to_string(volume.join("put")).unwrap(), "y");
    let refused = store.extract(view(true), "/mnt/vol", Tar::new().file("more", "y")).await.unwrap_err();
    assert_eq!(refused.to_string(), "mounted volume is marked read-only");
    // Not found out beforehand, it is still the kernel that refuses.
    assert!(store.extract(view(true), "/", Tar::new().file("mnt/vol/more", "y")).await.is_err());
    assert!(!volume.join("more").exists());
    assert_eq!(store.extract(view(false), "/nothing", Tar::new()).await.unwrap(), None);
    // Nothing stays mounted: the container does not run.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&format!("{}/overlay", store.folder.path().display())));
    let merged = store.store.mount_rootfs("c1").await.unwrap();
    assert_eq!(fs::read_dir(merged.join("mnt/vol")).unwrap().count(), 0);
    store.names(view(false), "/mnt").await;
    assert!(merged.join("mnt").exists(), "a running container's mount is left alone");
    store.store.remove_rootfs("c1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_changes_meanwhile_leads_nowhere() {
    let store = Arc::new(Store::new());
    store.store.create_rootfs("c1", &[]).await.unwrap();
    let merged = store.store.mount_rootfs("c1").await.unwrap();
    let victim = store.folder.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("secret"), "secret").unwrap();
    fs::create_dir_all(merged.join("work/folder")).unwrap();
    symlink(format!("../../../../../../../../../..{}", victim.display()), merged.join("work/link")).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (over, work) = (over.clone(), merged.join("work"));
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for (from, to) in [("folder", "x"), ("x", "folder"), ("link", "x"), ("x", "link")] {
                    fs::rename(work.join(from), work.join(to)).unwrap();
                }
            }
        })
    };
    for _ in 0..40 {
        // Whatever comes of it: the other one may be faster.
        drop(store.extract(View::default(), "/work", Tar::new().file("x/made", "x")).await);
        drop(store.extract(View::default(), "/work/x", Tar::new().file("made", "x")).await);
        if let Ok(Some((_, stream))) = store.store.archive("c1", View::default(), "/work/x/").await
            && let Ok(pieces) = stream.try_collect::<Vec<bytes::Bytes>>().await
        {
            assert!(!pieces.concat().windows(6).any(|bytes| bytes == b"secret"));
        }
    }
    over.store(true, Ordering::Relaxed);
    // The swapping thread fails when an archive has put something in its way.
    drop(swapping.join());
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
    store.store.remove_rootfs("c1").await.unwrap();
}
