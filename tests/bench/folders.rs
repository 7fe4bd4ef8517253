//! A folder of this computer in a container, against the machine's own disk: a big file each way, and the files of
//! an archive, each of which is made, walked over and removed.

use crate::sample::Sample;
use anyhow::{Context, Result};
use std::fs;
use tests::{Host, artifacts};

const MEGABYTES: usize = 64;
const FILES: usize = 500;

pub(crate) fn bench() -> Result<()> {
    let host = Host::new()?;
    let shared = tempfile::tempdir_in("/var/tmp")?;
    let folder = shared.path().display().to_string();
    host.machine(&["create", "--memory", "1024", "--mount", &folder, "bench"])?.ok()?;
    host.docker("bench", &["load", "-q", "-i", &artifacts::busybox()?.to_string_lossy()])?.ok()?;
    archive(&shared.path().join("many.tar"))?;
    let binds = ["-v", &format!("{folder}:/shared"), "-v", "own:/own"];
    let arguments = [&["run", "-d", "--name", "box"], &binds[..], &["busybox", "sleep", "100000"]].concat();
    host.docker("bench", &arguments)?.ok()?;
    let run = |script: &str| host.docker("bench", &["exec", "box", "sh", "-c", script])?.ok();
    run("cp /shared/many.tar /tmp")?;

    // Inside, where nothing but the work is measured, in hundredths of a second.
    let seconds = |work: &str| -> Result<f64> {
        let clock = "cut -d' ' -f1 /proc/uptime";
        let said = run(&format!("set -e; {clock}; {{ {work}; }} >/dev/null 2>&1; {clock}"))?;
        let (before, after) = said.split_once('\n').context("no two times")?;
        Ok(after.trim().parse::<f64>()? - before.trim().parse::<f64>()?)
    };
    let rate = |work: &str| Ok(MEGABYTES as f64 * 1.048_576 / seconds(work)?);
    let each = |work: &str| Ok(seconds(work)? * 1e3 / FILES as f64);

    let write = |to: &str| format!("dd if=/dev/zero of={to}/big bs=1M count={MEGABYTES} conv=fsync");
    let ours = Sample::take("folder.write", "MB/s", 3, || rate(&write("/shared")))?;
    ours.against(&Sample::take("disk.write", "MB/s", 3, || rate(&write("/own")))?);
    // Written here each time: the guest has nothing of it.
    let content = vec![1; MEGABYTES << 20];
    Sample::take("folder.read", "MB/s", 3, || {
        fs::write(shared.path().join("big"), &content)?;
        rate("cat /shared/big")
    })?;
    let unpack = |to: &str| format!("rm -rf {to}/many; tar xf /tmp/many.tar -C {to}");
    run(&unpack("/shared"))?;
    run(&unpack("/own"))?;
    for (name, peer, work) in [
        ("folder.walk_a_file", "disk.walk_a_file", "find AT/many -type f | xargs ls -l"),
        ("folder.read_a_file", "disk.read_a_file", "cat AT/many/*/*"),
        ("folder.replace_a_file", "disk.replace_a_file", "rm -rf AT/many; tar xf /tmp/many.tar -C AT"),
    ] {
        let ours = Sample::take(name, "ms", 3, || each(&work.replace("AT", "/shared")))?;
        ours.against(&Sample::take(peer, "ms", 3, || each(&work.replace("AT", "/own")))?);
    }
    Ok(())
}

/// `many/`, ten folders of small files.
fn archive(path: &std::path::Path) -> Result<()> {
    let mut archive = tar::Builder::new(fs::File::create(path)?);
    for number in 0..FILES {
        let mut header = tar::Header::new_gnu();
        let content = [b'x'; 4096];
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("many/{}/{number}", number % 10), &content[..])?;
    }
    Ok(archive.finish()?)
}
