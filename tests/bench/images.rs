//! Images in and out of the engine on this kernel: load, save, push, pull of some 196 MB in 10 000 files,
//! against Debian's registry. dockerd's figures for the same come from `../shared/peers/native.sh`.

use crate::sample::Sample;
use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};
use tests::{NativeEngine, RealRegistry, fake_registry::digest};

const NAME: &str = "127.0.0.1:5000/big:latest";
const REPEATS: usize = 3;
/// What the archive is filled up to.
const BYTES: u64 = 196_000_000;
const FILES: usize = 10_400;

pub(crate) fn bench() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (archive, saved) = (archive(folder.path())?, folder.path().join("saved.tar"));
    let (archive, saved) = (archive.to_string_lossy(), saved.to_string_lossy());
    let engine = NativeEngine::start()?;
    let time = |args: &[&str]| -> Result<f64> {
        let started = Instant::now();
        engine.docker(args)?.ok()?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    let load = Sample::take("native.load_big", "ms", REPEATS, || {
        // The first time there is nothing to remove.
        engine.docker(&["rmi", "-f", "big"])?;
        time(&["load", "-q", "-i", &archive])
    })?;
    let save = Sample::take("native.save_big", "ms", REPEATS, || time(&["save", "-o", &saved, "big"]))?;
    engine.docker(&["tag", "big", NAME])?.ok()?;
    let pid = engine.pid().context("the engine runs")?;
    forget_peak(pid)?;
    let push = Sample::take("native.push_big", "ms", REPEATS, || {
        let _registry = RealRegistry::plain(engine.network())?;
        time(&["push", "-q", NAME])
    })?;
    Sample::print("native.push_big.memory_peak", "MiB", vec![peak(pid)?]);
    let registry = RealRegistry::plain(engine.network())?;
    engine.docker(&["push", "-q", NAME])?.ok()?;
    forget_peak(pid)?;
    let pull = Sample::take("native.pull_big", "ms", REPEATS, || {
        engine.docker(&["rmi", "-f", "big", NAME])?;
        time(&["pull", "-q", NAME])
    })?;
    Sample::print("native.pull_big.memory_peak", "MiB", vec![peak(pid)?]);
    drop(registry);
    for (ours, theirs) in [load, save, push, pull].iter().zip(peer()?) {
        ours.against(&theirs);
    }
    Ok(())
}

/// The kernel counts a process' largest share of memory anew.
fn forget_peak(pid: u32) -> Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// The most memory that a process has had since, its program's pages among it, in MiB.
fn peak(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("status has no VmHWM")?;
    Ok(line.split_whitespace().next().context("VmHWM has no number")?.parse::<f64>()? / 1024.0)
}

/// The peer's own image where it has been made, otherwise one of this system's files.
fn archive(folder: &Path) -> Result<PathBuf> {
    let cache = std::env::var_os("PEERS").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/machine-peers")));
    if let Some(theirs) = cache.map(|cache| cache.join("big-image.tar")).filter(|path| path.exists()) {
        return Ok(theirs);
    }
    let (layer_path, path) = (folder.join("layer.tar"), folder.join("big.tar"));
    let mut layer = tar::Builder::new(File::create(&layer_path)?);
    layer.follow_symlinks(false);
    let (mut bytes, mut files) = (0, 0);
    let mut folders = vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/share")];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let (entry, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                folders.push(entry);
            } else if kind.is_file() && bytes < BYTES && files < FILES {
                let size = fs::metadata(&entry)?.len();
                if size < BYTES / 20 {
                    layer.append_path_with_name(&entry, entry.strip_prefix("/")?)?;
                    (bytes, files) = (bytes + size, files + 1);
                }
            }
        }
    }
    layer.into_inner()?;
    let diff_id = digest(&fs::read(&layer_path)?);
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    let manifest =
        serde_json::json!([{ "Config": "config.json", "RepoTags": ["big:latest"], "Layers": ["layer.tar"] }]);
    let mut archive = tar::Builder::new(File::create(&path)?);
    archive.append_path_with_name(&layer_path, "layer.tar")?;
    for (name, text) in [("config.json", config.to_string()), ("manifest.json", manifest.to_string())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, name, text.as_bytes())?;
    }
    archive.into_inner()?;
    Ok(path)
}

/// dockerd's figures in the order of ours; nothing where the recipe is not here.
fn peer() -> Result<Vec<Sample>> {
    peer_figures(&["load", "registry"], &["peer.load_big", "peer.save_big", "peer.push_big", "peer.pull_big"])
}

/// Figures of the peer's `sections`: it calls `native.X` what is `peer.X` here.
#[expect(clippy::print_stderr, reason = "progress of a program for people")]
pub(crate) fn peer_figures(sections: &[&str], names: &[&'static str]) -> Result<Vec<Sample>> {
    let scripts =
        std::env::var_os("PEER_SCRIPTS").map_or_else(|| PathBuf::from("../shared/peers"), PathBuf::from);
    if !scripts.join("native.sh").exists() {
        eprintln!("# {} is not here: no dockerd to compare with", scripts.display());
        return Ok(Vec::new());
    }
    let output = Command::new("bash")
        .arg(scripts.join("native.sh"))
        .args(sections)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("Could not run the peer")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = |name: &str| -> Result<f64> {
        let line = format!("native.{} ", name.trim_start_matches("peer."));
        text.lines()
            .find_map(|found| found.strip_prefix(&line)?.split(' ').next()?.parse().ok())
            .with_context(|| format!("The peer gave no {name}: {text}"))
    };
    names.iter().map(|name| Ok(Sample::print(name, "ms", vec![value(name)?]))).collect()
}
