//! An engine that is killed in the middle of what it does to images starts again with a store that is
//! whole: every image complete, nothing there that no image needs.

use crate::buildx::{Builds, Context};
use anyhow::{Context as _, Result};
use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};
use tests::{NativeEngine, RealRegistry, artifacts, host::docker, run::eventually};

/// Runs with its output thrown away.
fn begin(engine: &NativeEngine, args: &[&str], stdin: Stdio, stdout: Stdio) -> Result<Child> {
    unheard(docker(&engine.url(), args)?.stdin(stdin).stdout(stdout))
}

fn unheard(command: &mut Command) -> Result<Child> {
    Ok(command.stderr(Stdio::null()).spawn()?)
}

fn names(engine: &NativeEngine, folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(engine.data_root().join(folder)).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Kills the engine, ends its client and starts it again.
fn restart(engine: &mut NativeEngine, mut client: Child) -> Result<()> {
    engine.crash()?;
    drop(client.stdin.take());
    drop(client.stdout.take());
    client.wait()?;
    engine.spawn()
}

/// What is on disk is exactly what the images need, and all of them can be had.
fn is_whole(engine: &NativeEngine) -> Result<()> {
    let images = engine.docker(&["images", "-aq", "--no-trunc"])?.ok()?;
    let images: BTreeSet<&str> = images.lines().collect();
    let (mut layers, mut blobs, mut manifests) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let hex = |text: &str| text.rsplit("sha256:").next().unwrap_or_default().to_owned();
    for image in &images {
        let words = |list: &str| -> Result<String> {
            engine.docker(&["inspect", "-f", &format!("{{{{join {list} \" \"}}}}"), image])?.ok()
        };
        layers.extend(words(".RootFS.Layers")?.split_whitespace().map(hex));
        manifests.extend(words(".RepoDigests")?.split_whitespace().map(hex));
        blobs.insert(hex(image));
        let archive = engine.folder().join("whole.tar");
        engine.docker(&["save", "-o", &archive.to_string_lossy(), image])?.ok()?;
    }
    assert_eq!(names(engine, "layers/sha256"), layers);
    let mut there = names(engine, "images/blobs/sha256");
    there.retain(|blob| !manifests.contains(blob));
    assert_eq!(there, blobs);
    assert!(names(engine, "layers/tmp").is_empty());
    let files = names(engine, "images");
    assert!(files.iter().all(|name| name == "index.json" || name == "blobs"), "{files:?}");
    Ok(())
}

/// Whether the engine has said that it cleaned up, once more than before.
fn says(engine: &NativeEngine, words: &str) -> Result<usize> {
    Ok(fs::read_to_string(engine.log())?.matches(words).count())
}

#[test]
fn in_the_middle_of_an_archive() -> Result<()> {
    let mut engine = NativeEngine::with_busybox()?;
    engine
        .docker(&["run", "--name", "cc", "busybox", "sh", "-c", "head -c 3000000 /dev/urandom >/big"])?
        .ok()?;
    engine.docker(&["commit", "cc", "two:1"])?.ok()?;
    let (archive, files) = (engine.folder().join("two.tar"), engine.folder().join("files.tar"));
    engine.docker(&["save", "-o", &archive.to_string_lossy(), "two:1"])?.ok()?;
    engine.docker(&["export", "-o", &files.to_string_lossy(), "cc"])?.ok()?;
    engine.docker(&["rm", "cc"])?.ok()?;
    engine.docker(&["rmi", "two:1", "busybox"])?.ok()?;
    is_whole(&engine)?;
    // A load: in the first layer, in the second, at the end of it.
    for (file, args) in [(&archive, &["load"][..]), (&files, &["import", "-", "imported:1"])] {
        let bytes = fs::read(file)?;
        for part in [3, 8, 11] {
            let mut client = begin(&engine, args, Stdio::piped(), Stdio::null())?;
            let input = client.stdin.as_mut().context("stdin")?;
            input.write_all(&bytes[..bytes.len() * part / 12])?;
            input.flush()?;
            eventually("It is being unpacked", || Ok(!names(&engine, "layers/tmp").is_empty()))?;
            restart(&mut engine, client)?;
            is_whole(&engine)?;
            assert_eq!(engine.docker(&["images", "-aq"])?.ok()?, "");
        }
    }
    assert!(says(&engine, "Layers that were half unpacked are removed")? > 0);
    assert!(says(&engine, "Leftovers of an interrupted engine are removed")? > 0);
    engine.docker(&["load", "-i", &archive.to_string_lossy()])?.ok()?;
    // A save that its reader has read half of.
    let mut client = begin(&engine, &["save", "two:1"], Stdio::null(), Stdio::piped())?;
    client.stdout.as_mut().context("stdout")?.read_exact(&mut vec![0; 1 << 20])?;
    restart(&mut engine, client)?;
    is_whole(&engine)?;
    assert_eq!(engine.docker(&["images", "-q"])?.ok()?.lines().count(), 1);
    Ok(())
}

/// Too quick to be caught at a chosen point: caught wherever it is.
#[test]
fn in_the_middle_of_changes() -> Result<()> {
    let mut engine = NativeEngine::with_busybox()?;
    let fill = "for i in $(seq 300); do echo $i >/f$i; done; head -c 2000000 /dev/urandom >/big";
    engine.docker(&["run", "--name", "cc", "busybox", "sh", "-c", fill])?.ok()?;
    let archive = artifacts::busybox()?.to_string_lossy().into_owned();
    for (number, delay) in [15, 30, 60, 120].into_iter().enumerate() {
        let name = format!("committed:{number}");
        for args in [
            &["commit", "-c", "LABEL x=y", "cc", &name][..],
            &["rmi", &name],
            &["load", "-i", &archive],
            &["tag", "busybox", &name],
            &["image", "prune", "-af"],
        ] {
            let client = begin(&engine, args, Stdio::null(), Stdio::null())?;
            thread::sleep(Duration::from_millis(delay));
            restart(&mut engine, client)?;
            // The container's image is there as long as the container is.
            is_whole(&engine)?;
        }
    }
    engine.docker(&["rm", "cc"])?.ok()?;
    engine.docker(&["image", "prune", "-af"])?.ok()?;
    is_whole(&engine)?;
    assert!(names(&engine, "layers/sha256").is_empty());
    Ok(())
}

/// Both builders, caught wherever they are: no container, no layer and no folder of theirs stays.
#[test]
fn in_the_middle_of_builds() -> Result<()> {
    let text = "FROM busybox\nWORKDIR /w\nCOPY f .\nRUN head -c 2000000 /dev/urandom >/big\nRUN sleep 0.1\nRUN echo b >/b\n";
    let context = Context::new(&[("Dockerfile", text), ("f", "file")])?;
    let folder = context.path("").to_string_lossy().into_owned();
    let mut builds = Builds::start()?;
    for delay in [200, 450, 800] {
        for buildkit in ["0", "1"] {
            let mut command = builds.command(&["build", "--no-cache", "-t", "built", &folder])?;
            command.env("DOCKER_BUILDKIT", buildkit).stdin(Stdio::null()).stdout(Stdio::null());
            let client = unheard(&mut command)?;
            thread::sleep(Duration::from_millis(delay));
            restart(&mut builds.engine, client)?;
            assert_eq!(builds.engine.docker(&["ps", "-aq"])?.ok()?, "");
            assert!(names(&builds.engine, "builds").is_empty());
            assert!(names(&builds.engine, "containers").is_empty());
            // Steps that were made are found, and take their layers along.
            builds.docker(&["builder", "prune", "-af"])?.ok()?;
            is_whole(&builds.engine)?;
        }
    }
    builds.docker(&["image", "prune", "-af"])?.ok()?;
    is_whole(&builds.engine)?;
    assert!(names(&builds.engine, "layers/sha256").is_empty());
    Ok(())
}

/// To and from a registry, caught wherever it is: an image is here as a whole or not at all, and the next try works.
#[test]
fn in_the_middle_of_pushes_and_pulls() -> Result<()> {
    const NAME: &str = "127.0.0.1:5000/three:1";
    let mut engine = NativeEngine::with_busybox()?;
    for (number, from) in ["busybox", "step:1", "step:2"].into_iter().enumerate() {
        let (fill, name) = ("head -c 2000000 /dev/urandom >/big", format!("step:{}", number + 1));
        engine.docker(&["run", "--name", "cc", from, "sh", "-c", fill])?.ok()?;
        engine.docker(&["commit", "cc", &name])?.ok()?;
        engine.docker(&["rm", "cc"])?.ok()?;
    }
    engine.docker(&["tag", "step:3", NAME])?.ok()?;
    let delays = [40, 120, 250].map(Duration::from_millis);
    for delay in delays {
        let _registry = RealRegistry::plain(engine.network())?;
        let client = begin(&engine, &["push", "-q", NAME], Stdio::null(), Stdio::null())?;
        thread::sleep(delay);
        restart(&mut engine, client)?;
        is_whole(&engine)?;
        engine.docker(&["push", "-q", NAME])?.ok()?;
    }
    let registry = RealRegistry::plain(engine.network())?;
    engine.docker(&["push", "-q", NAME])?.ok()?;
    for delay in delays {
        engine.docker(&["image", "prune", "-af"])?.ok()?;
        assert_eq!(engine.docker(&["images", "-aq"])?.ok()?, "");
        let client = begin(&engine, &["pull", "-q", NAME], Stdio::null(), Stdio::null())?;
        thread::sleep(delay);
        restart(&mut engine, client)?;
        is_whole(&engine)?;
        engine.docker(&["pull", "-q", NAME])?.ok()?;
        is_whole(&engine)?;
    }
    drop(registry);
    Ok(())
}
