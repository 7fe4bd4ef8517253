//! Folders of this computer in containers.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
};
use tests::{
    Host,
    run::{eventually, pid_of},
};

/// Does everything that a build does to its sources, in `/src`.
const WORK: &str = "set -e; cd /src; \
    cat host.txt; echo from the container > made; mkdir -p deep/er; \
    mv made deep/er/moved; ln deep/er/moved hard; ln -s deep/er/moved soft; cat soft; \
    chmod 750 hard; printf 1234567890 > cut; truncate -s 4 cut 2>/dev/null || dd if=/dev/null of=cut bs=1 seek=4 2>/dev/null; \
    rm deep/er/moved; cat hard; \
    mkdir many; for n in $(seq 50); do echo $n > many/$n; done; ls many | wc -l; ls -l lots | grep -c lots; \
    cat escape/secret 2>&1 || true; cat ../../secret 2>&1 || true";

fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn folders_of_this_computer() -> Result<()> {
    let host = Host::new()?;
    let outside = tempfile::tempdir_in("/var/tmp")?;
    let (source, fixed) = (outside.path().join("src"), outside.path().join("fixed"));
    fs::create_dir_all(&source)?;
    fs::create_dir_all(&fixed)?;
    fs::write(outside.path().join("secret"), "secret")?;
    fs::write(source.join("host.txt"), "from the host\n")?;
    fs::write(fixed.join("file"), "fixed")?;
    fs::create_dir(source.join("lots"))?;
    for number in 0..1000 {
        fs::write(source.join(format!("lots/{number}-lots")), "123")?;
    }
    symlink(outside.path(), source.join("escape"))?;
    let (text, read_only) = (source.display().to_string(), format!("{}:ro", fixed.display()));
    host.machine(&["create", "--memory", "1024", "--mount", &text, "--mount", &read_only, "f"])?.ok()?;
    let archive = tests::artifacts::busybox()?;
    host.docker("f", &["load", "-q", "-i", &archive.to_string_lossy()])?.ok()?;

    let bind = format!("{text}:/src");
    let said = host.docker("f", &["run", "--rm", "-v", &bind, "busybox", "sh", "-c", WORK])?.ok()?;
    let lines: Vec<&str> = said.lines().collect();
    let expected = ["from the host", "from the container", "from the container", "50", "1000"];
    assert_eq!(lines.get(..5), Some(&expected[..]), "{said}");
    assert!(lines[5..].iter().all(|line| line.contains("can't open")), "a link led out: {said}");
    let hard = fs::metadata(source.join("hard"))?;
    assert_eq!((hard.nlink(), hard.mode() & 0o7777, hard.uid()), (1, 0o750, nix::unistd::getuid().as_raw()));
    assert_eq!(fs::read(source.join("cut"))?, b"1234");
    assert_eq!(fs::read_dir(source.join("many"))?.count(), 50);

    // Read only is not the container's to decide.
    let bind_fixed = format!("{}:/fixed", fixed.display());
    let refused = "cat /fixed/file; echo x > /fixed/file; rm -f /fixed/file; mount -o remount,rw /fixed; touch /fixed/new";
    let arguments = ["run", "--rm", "--privileged", "-v", &bind_fixed, "busybox", "sh", "-c", refused];
    assert!(host.docker("f", &arguments)?.stdout.starts_with("fixed"));
    assert_eq!(fs::read(fixed.join("file"))?, b"fixed");
    assert_eq!(fs::read_dir(&fixed)?.count(), 1);

    // A container that stays: it sees what changes here, and outlives the keeper.
    let stay = "cd /src; exec 3>>log; while :; do echo . >&3; sleep 0.2; done";
    host.docker("f", &["run", "-d", "--name", "dev", "-v", &bind, "busybox", "sh", "-c", stay])?.ok()?;
    let cat = |path: &str| Ok::<_, anyhow::Error>(host.docker("f", &["exec", "dev", "cat", path])?.stdout);
    fs::write(source.join("host.txt"), "edited\n")?;
    assert_eq!(cat("/src/host.txt")?.trim(), "edited", "at once");
    fs::write(source.join("other"), "replaced\n")?;
    fs::rename(source.join("other"), source.join("host.txt"))?;
    assert_eq!(cat("/src/host.txt")?.trim(), "replaced", "at once");

    // Big files, both ways.
    let big: Vec<u8> =
        (0..8_u32 << 20).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(source.join("big"), &big)?;
    let copy = "cp /src/big /src/copy && sha256sum < /src/copy";
    let sum = host.docker("f", &["exec", "dev", "sh", "-c", copy])?.ok()?;
    assert_eq!(sum.split_whitespace().next(), Some(&*sha(&big)));
    assert_eq!(sha(&fs::read(source.join("copy"))?), sha(&big));

    keeper_killed(&host, &source, &cat)
}

/// The mount, a container's folder in it and an open file go on with the next keeper; without one the container
/// can be removed.
fn keeper_killed(host: &Host, source: &Path, cat: &dyn Fn(&str) -> Result<String>) -> Result<()> {
    let kill_keeper = || -> Result<()> {
        let store = host.store().to_string_lossy().into_owned();
        let keeper = pid_of(&[&store, " keeper f"])?.context("No keeper runs")?;
        Ok(kill(Pid::from_raw(keeper), Signal::SIGKILL)?)
    };
    kill_keeper().context("Could not kill the keeper")?;
    let before = fs::metadata(source.join("log"))?.len();
    // Any command brings the next keeper.
    assert_eq!(cat("/src/host.txt")?.trim(), "replaced");
    eventually("The open file is written to", || Ok(fs::metadata(source.join("log"))?.len() > before))?;
    assert_eq!(host.docker("f", &["exec", "-w", "/src/many", "dev", "cat", "49"])?.ok()?, "49");

    kill_keeper()?;
    host.machine(&["ssh", "f", "grep -q fuse.machine /proc/mounts"])?.ok()?;
    let url = host.url("f")?;
    ensure!(!url.is_empty());
    host.docker("f", &["rm", "-f", "dev"])?.ok()?;
    kill_keeper()?;
    host.machine(&["stop", "f"])?.ok()?;
    Ok(())
}
