//! Archives of others, and what becomes of them here.

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    time::Duration,
};
use tests::{
    NativeEngine, artifacts,
    fake_registry::digest,
    image_parts::{layer, noise},
    run::run,
};

fn skopeo(args: &[&str]) -> Result<()> {
    run(Command::new("skopeo").arg("--insecure-policy").args(args))?.ok().map(drop)
}

fn layers_of(engine: &NativeEngine, image: &str) -> Result<String> {
    engine.docker(&["inspect", "-f", "{{join .RootFS.Layers \" \"}}", image])?.ok()
}

#[test]
fn archives_of_skopeo_and_compressed_ones() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["create", "--name", "cc", "busybox"])?.ok()?;
    let extra = engine.folder().join("noise");
    fs::write(&extra, noise(300_000, 4))?;
    engine.docker(&["cp", &extra.to_string_lossy(), "cc:/noise"])?.ok()?;
    engine.docker(&["commit", "cc", "team/two:1"])?.ok()?;
    let (two, one) = (layers_of(&engine, "team/two:1")?, layers_of(&engine, "busybox")?);
    let id = engine.docker(&["inspect", "-f", "{{.Id}}", "team/two:1"])?.ok()?;
    engine.docker(&["rm", "cc"])?.ok()?;
    let path = |name: &str| engine.folder().join(name).to_string_lossy().into_owned();
    let saved = path("saved.tar");
    engine.docker(&["save", "-o", &saved, "team/two:1", "busybox"])?.ok()?;
    let from = format!("docker-archive:{saved}:team/two:1");
    skopeo(&["copy", "-q", &from, &format!("docker-archive:{}:team/two:2", path("docker.tar"))])?;
    skopeo(&["copy", "-q", &from, &format!("oci-archive:{}:team/two:3", path("oci.tar"))])?;
    let zstd = format!("oci-archive:{}", path("zstd.tar"));
    skopeo(&["copy", "-q", "--dest-compress-format", "zstd", "--dest-compress", &from, &zstd])?;
    for program in [&["gzip", "-k"][..], &["xz", "-k0"], &["zstd", "-q"], &["bzip2", "-k"]] {
        // What a machine has not, its archives will not be made with.
        if Command::new(program[0]).arg("--version").output().is_ok() {
            run(Command::new(program[0]).args(&program[1..]).arg(&saved))?.ok()?;
        }
    }
    for file in
        ["docker.tar", "oci.tar", "zstd.tar", "saved.tar", "saved.tar.gz", "saved.tar.xz", "saved.tar.zst"]
    {
        engine.docker(&["image", "prune", "-af"])?.ok()?;
        assert_eq!(fs::read_dir(engine.data_root().join("layers/sha256"))?.count(), 0);
        let file = path(file);
        if !Path::new(&file).exists() {
            continue;
        }
        let loaded = engine.docker(&["load", "-i", &file])?.ok()?;
        let names: Vec<&str> =
            loaded.lines().filter_map(|line| line.rsplit_once(": ").map(|l| l.1)).collect();
        assert_eq!(layers_of(&engine, names[0])?, two, "{file}: {loaded}");
        if file.contains("saved") {
            assert_eq!(names, ["team/two:1", "busybox:latest"], "{file}");
            assert_eq!(layers_of(&engine, "busybox")?, one);
            assert_eq!(engine.docker(&["inspect", "-f", "{{.Id}}", "team/two:1"])?.ok()?, id);
        }
        engine.docker(&["run", "--rm", names[0], "sh", "-c", "[ -s /noise ]"])?.ok()?;
    }
    Ok(())
}

/// A docker-archive of one image with these layers.
fn archive(layers: &[Vec<u8>]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes)
    };
    let diff_ids: Vec<String> = layers.iter().map(|tar| digest(tar)).collect();
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}.tar")).collect();
    for (name, tar) in names.iter().zip(layers) {
        add(name, tar)?;
    }
    let config = serde_json::json!({ "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    add("config.json", config.to_string().as_bytes())?;
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": ["made:1"], "Layers": names }]);
    add("manifest.json", manifest.to_string().as_bytes())?;
    Ok(builder.into_inner()?)
}

/// One entry with a name that no honest program writes.
fn entry(kind: tar::EntryType, name: &str, link: &str, content: &[u8]) -> Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, content)?;
    Ok(builder.into_inner()?)
}

/// skopeo takes an answer for the end, and hangs up.
#[test]
fn nothing_is_answered_before_the_whole_archive_is_here() -> Result<()> {
    let engine = NativeEngine::start()?;
    let archive = std::fs::read(artifacts::busybox()?)?;
    let (first, rest) = archive.split_at(archive.len() / 2);
    let mut connection = UnixStream::connect(engine.socket())?;
    let length = archive.len();
    write!(connection, "POST /v1.45/images/load?quiet=1 HTTP/1.1\r\nHost: d\r\nConnection: close\r\n")?;
    write!(connection, "Content-Type: application/x-tar\r\nContent-Length: {length}\r\n\r\n")?;
    connection.write_all(first)?;
    connection.set_read_timeout(Some(Duration::from_millis(300)))?;
    let early = connection.read(&mut [0; 64]);
    assert!(early.is_err(), "an answer of {early:?} bytes came with half of the archive");
    connection.set_read_timeout(Some(Duration::from_secs(60)))?;
    connection.write_all(rest)?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    assert!(answer.contains("Loaded image: busybox:latest"), "{answer}");
    Ok(())
}

#[test]
fn hostile_ones_are_refused_by_name() -> Result<()> {
    use tar::EntryType::{Link, Regular, Symlink};
    let engine = NativeEngine::start()?;
    let victim = engine.folder().join("victim");
    fs::write(&victim, "as it was")?;
    let outside = victim.to_string_lossy().into_owned();
    let joined = |first: Vec<u8>, second: Vec<u8>| [&first[..first.len() - 1024], &second].concat();
    for (layer, says) in [
        (entry(Regular, "../victim", "", b"x")?, "leads out of the layer"),
        (entry(Regular, "a/../../victim", "", b"x")?, "leads out of the layer"),
        (entry(Link, "stolen", "../../../../victim", b"")?, "leads out of the layer"),
        (entry(Link, "stolen", &outside, b"")?, "Could not write \"stolen\""),
        (joined(entry(Symlink, "up", &outside, b"")?, entry(Link, "in", "up", b"")?), ""),
        (
            joined(entry(Symlink, "up", "/nowhere", b"")?, entry(Regular, "up/x", "", b"")?),
            "Could not write \"up/x\"",
        ),
        (entry(Regular, ".wh...", "", b"")?, "a whiteout of nothing"),
    ] {
        let loaded = engine.docker_with_input(&["load"], &archive(&[layer])?)?;
        match says {
            // A link to a link is one: nothing is followed.
            "" => drop(loaded.ok()?),
            says => {
                let error = loaded.fails(1)?;
                assert!(error.contains(says), "{says}: {error}");
            }
        }
        assert_eq!(fs::read_to_string(&victim)?, "as it was");
        engine.docker(&["image", "prune", "-af"])?.ok()?;
        for folder in ["layers/sha256", "layers/tmp"] {
            let left = fs::read_dir(engine.data_root().join(folder)).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{folder}");
        }
    }
    // Names in the archive itself are names, not paths.
    let whole = archive(&[layer("fine", b"1")?])?;
    let up = entry(Regular, "../up", "", b"x")?;
    let error = engine.docker_with_input(&["load"], &joined(up, whole))?.fails(1)?;
    assert!(error.contains("leads out of the archive"), "{error}");
    // Sizes that stand in pax records, as of layers beyond 8 GiB.
    let layer = layer("large", b"1")?;
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("size", layer.len().to_string().as_bytes())])?;
    let pax = builder.into_inner()?;
    let small = archive(&[layer])?;
    let mut header = small[..512].to_vec();
    header[124..136].copy_from_slice(b"00000000000\0");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let large = [&pax[..pax.len() - 1024], &header, &small[512..]].concat();
    let loaded = engine.docker_with_input(&["load"], &large)?.ok()?;
    assert_eq!(loaded, "Loaded image: made:1");
    Ok(())
}

#[test]
fn import_with_everything() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["create", "--name", "cc", "busybox"])?.ok()?;
    let files = engine.folder().join("files.tar");
    engine.docker(&["export", "-o", &files.to_string_lossy(), "cc"])?.ok()?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&fs::read(&files)?)?;
    fs::write(&files, gzip.finish()?)?;
    let args = [
        "import",
        "-c",
        "CMD [\"echo\", \"made\"]",
        "-c",
        "ENV A=b",
        "-c",
        "EXPOSE 80",
        "-m",
        "a message",
        "--platform",
        "linux/arm/v6",
        &files.to_string_lossy(),
        "made/of:files",
    ];
    let id = engine.docker(&args)?.ok()?;
    let shown = engine.docker(&["inspect", "made/of:files"])?.ok()?;
    let shown: Value = serde_json::from_str(&shown)?;
    let image = shown.get(0).context("an image")?;
    assert_eq!(image["Id"], id);
    assert_eq!(image["Comment"], "a message");
    assert_eq!((&image["Architecture"], &image["Variant"]), (&"arm".into(), &"v6".into()));
    assert_eq!(image["Config"]["Cmd"], serde_json::json!(["echo", "made"]));
    assert_eq!(image["Config"]["ExposedPorts"], serde_json::json!({ "80/tcp": {} }));
    let history = engine.docker(&["history", "--format", "{{.Comment}}", "made/of:files"])?.ok()?;
    assert_eq!(history, "a message");
    assert_eq!(engine.docker(&["run", "--rm", "made/of:files"])?.ok()?, "made");
    let wrong =
        engine.docker(&["import", "--platform", "windows/amd64", &files.to_string_lossy()])?.fails(1)?;
    assert!(wrong.contains("windows"), "{wrong}");
    assert!(engine.docker_with_input(&["import", "-"], b"no tar at all")?.fails(1)?.contains("not a tar"));
    Ok(())
}
