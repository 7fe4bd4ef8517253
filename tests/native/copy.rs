//! `docker cp`, `diff` and `export`.

use anyhow::Result;
use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::symlink, net::UnixStream},
    path::Path,
};
use tests::{NativeEngine, run::Run};

fn cp(engine: &NativeEngine, from: &str, to: &str) -> Result<Run> {
    engine.docker(&["cp", "-q", from, to])
}

/// A PUT by hand: what no client of ours would send.
fn put(engine: &NativeEngine, target: &str, body: &[u8]) -> Result<String> {
    let mut stream = UnixStream::connect(engine.socket())?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60)))?;
    write!(
        stream,
        "PUT {target} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    // The engine may answer before it has read everything.
    drop(stream.write_all(body));
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn tar_of(entries: &[(&str, u8, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, text) in entries {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let content = if *kind == b'0' { text.as_bytes() } else { b"" };
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = *kind;
        if *kind != b'0' {
            header[157..157 + text.len()].copy_from_slice(text.as_bytes());
        }
        header[257..263].copy_from_slice(b"ustar\0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        bytes.extend(header);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn files_and_folders_go_in_and_out_running_or_not() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    fs::create_dir_all(at("tree/sub"))?;
    fs::write(at("tree/sub/file"), vec![7; 300_000])?;
    fs::write(at("one"), "one")?;
    symlink("sub/file", at("tree/link"))?;
    engine.docker(&["create", "--name", "box", "busybox", "sleep", "1000"])?.ok()?;
    for running in [false, true] {
        let inside = if running { "/running" } else { "/stopped" };
        if running {
            engine.docker(&["start", "box"])?.ok()?;
        }
        cp(&engine, &at("one"), "box:/single")?.ok()?;
        cp(&engine, &at("tree"), &format!("box:{inside}"))?.ok()?;
        cp(&engine, &at("tree"), &format!("box:{inside}"))?.ok()?;
        let out = at(&format!("out-{running}"));
        cp(&engine, &format!("box:{inside}/."), &out)?.ok()?;
        assert_eq!(fs::read(Path::new(&out).join("sub/file"))?, vec![7; 300_000]);
        assert_eq!(fs::read_link(Path::new(&out).join("link"))?, Path::new("sub/file"));
        assert!(Path::new(&out).join("tree/sub/file").exists(), "the second copy went into the folder");
        let followed =
            engine.docker(&["cp", "-L", &format!("box:{inside}/link"), &at(&format!("l-{running}"))])?;
        followed.ok()?;
        assert_eq!(fs::metadata(at(&format!("l-{running}")))?.len(), 300_000);
    }
    assert_eq!(engine.docker(&["exec", "box", "cat", "/single"])?.ok()?, "one");
    engine.docker_with_input(&["cp", "-", "box:/tmp"], &tar_of(&[("piped/file", b'0', "x")]))?.ok()?;
    assert_eq!(engine.docker(&["exec", "box", "cat", "/tmp/piped/file"])?.ok()?, "x");
    let missing = cp(&engine, "box:/nothing/here", &at("x"))?.fails(1)?;
    assert!(missing.contains("Could not find the file /nothing/here in container box"), "{missing}");
    let over = cp(&engine, &at("one"), "box:/stopped/nothing/")?;
    assert_ne!(over.code, 0);
    let events =
        engine.docker(&["events", "--since", "1h", "--until", "-1s", "--format", "{{.Action}}"])?.ok()?;
    assert!(events.contains("extract-to-dir") && events.contains("archive-path"), "{events}");
    Ok(())
}

#[test]
fn mounts_are_seen_and_what_is_read_only_stays_so() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let host = tempfile::tempdir()?;
    let file = host.path().join("file");
    fs::write(&file, "from the host")?;
    let (file, bound) = (file.to_string_lossy(), host.path().join("bound"));
    fs::create_dir(&bound)?;
    let bind = format!("{}:/bound", bound.display());
    let options = ["--read-only", "-v", "vol:/vol", "-v", "fixed:/fixed:ro", "-v", &bind];
    engine
        .docker(&[&["create", "--name", "box"], &options[..], &["busybox", "sleep", "1000"]].concat())?
        .ok()?;
    for running in [false, true] {
        if running {
            engine.docker(&["start", "box"])?.ok()?;
        }
        cp(&engine, &file, "box:/vol/copied")?.ok()?;
        cp(&engine, &file, "box:/bound")?.ok()?;
        assert_eq!(fs::read_to_string(engine.data_root().join("volumes/vol/_data/copied"))?, "from the host");
        assert_eq!(fs::read_to_string(bound.join("file"))?, "from the host");
        fs::remove_file(bound.join("file"))?;
        let fixed = cp(&engine, &file, "box:/fixed")?.fails(1)?;
        assert!(fixed.contains("mounted volume is marked read-only"), "{fixed}");
        let root = cp(&engine, &file, "box:/tmp")?.fails(1)?;
        assert!(root.contains("container rootfs is marked read-only"), "{root}");
        let out = host.path().join(format!("out-{running}"));
        cp(&engine, "box:/vol/copied", &out.to_string_lossy())?.ok()?;
        assert_eq!(fs::read_to_string(out)?, "from the host");
    }
    Ok(())
}

#[test]
fn links_and_archives_stay_in_the_container() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let host = tempfile::tempdir()?;
    let victim = host.path().join("victim");
    fs::create_dir(&victim)?;
    fs::write(victim.join("secret"), "secret")?;
    let outside = victim.to_string_lossy().into_owned();
    let script = format!(
        "mkdir -p /in /work; ln -s {outside} /work/abs; ln -s ../../../../../../../..{outside} /work/rel; ln -s /in /work/good; \
         ln -s {outside}/secret /work/file"
    );
    engine.docker(&["run", "--name", "box", "-v", "vol:/vol", "busybox", "sh", "-c", &script])?.ok()?;
    // What a link names is looked for in the container, where it is not.
    for path in ["/work/abs/secret", "/work/rel/secret", "/../../../../../../../..{outside}/secret"] {
        let path = format!("box:{}", path.replace("{outside}", &outside));
        cp(&engine, &path, &host.path().join("stolen").to_string_lossy())?.fails(1)?;
    }
    engine
        .docker(&["cp", "-L", "box:/work/file", &host.path().join("stolen").to_string_lossy()])?
        .fails(1)?;
    assert!(!host.path().join("stolen").exists());
    let put = |path: &str, entries: &[(&str, u8, &str)]| {
        put(&engine, &format!("/v1.45/containers/box/archive?path={path}"), &tar_of(entries))
    };
    let answer = put("/work/good", &[("made", b'0', "x")])?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    engine.docker(&["cp", "box:/in/made", "-"])?.ok()?;
    let long = format!("../../../../../../../..{outside}/made");
    for entries in [
        &[("../../../../../tmp/made", b'0', "x")][..],
        &[(long.as_str(), b'0', "x")],
        &[("a", b'0', "x"), ("b", b'1', "../../../../etc/passwd")],
        &[("up", b'2', outside.as_str()), ("up/made", b'0', "x")],
        &[("up", b'2', outside.as_str()), ("got", b'1', "up/secret")],
        &[("x/../../../y", b'5', "")],
    ] {
        let answer = put("/work", entries)?;
        assert!(
            answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5"),
            "{entries:?}: {answer}"
        );
    }
    let answer = put("/work", &[("../x", b'0', "x")])?;
    assert!(answer.contains(r#""message":"\"../x\" is outside of \"/work\"""#), "{answer}");
    // A link is replaced, not followed; one to a folder of the container leads there.
    put("/work", &[("file", b'0', "mine")])?;
    put("/work", &[("link", b'2', "/in"), ("link/through", b'0', "x")])?;
    engine.docker(&["cp", "box:/in/through", "-"])?.ok()?;
    assert_eq!(fs::read_to_string(victim.join("secret"))?, "secret");
    assert_eq!(fs::read_dir(&victim)?.count(), 1);

    let answer = put("/in&noOverwriteDirNonDir=1", &[("made", b'5', "")])?;
    assert!(answer.contains("cannot overwrite non-directory"), "{answer}");
    assert!(put("/in/made", &[("x", b'0', "x")])?.contains("extraction point is not a directory"));
    assert!(
        put("/absent", &[("x", b'0', "x")])?.contains("Could not find the file /absent in container box")
    );
    assert!(put("", &[])?.starts_with("HTTP/1.1 400"));
    let cut = self::put(
        &engine,
        "/v1.45/containers/box/archive?path=/in",
        &tar_of(&[("big", b'0', &"x".repeat(5000))])[..3000],
    )?;
    assert!(!cut.starts_with("HTTP/1.1 2"), "{cut}");
    Ok(())
}

#[test]
fn diff_and_export_show_what_the_container_did() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let script = "echo x > /new; mkdir -p /etc/made; rm /bin/vi; echo y >> /etc/passwd; touch /vol/not-ours; rm -r /home; mkdir /home";
    engine.docker(&["run", "--name", "box", "-v", "vol:/vol", "busybox", "true"])?.ok()?;
    assert_eq!(engine.docker(&["diff", "box"])?.ok()?, "A /vol", "a run alone changes nothing");
    engine.docker(&["rm", "-f", "box"])?.ok()?;
    let image = sh_list(&engine, "ls -d /home /etc/passwd /bin/vi 2>/dev/null")?;
    engine.docker(&["run", "--name", "box", "-v", "vol:/vol", "busybox", "sh", "-c", script])?;
    let diff = engine.docker(&["diff", "box"])?.ok()?;
    let has = |line: &str| diff.lines().any(|found| found == line);
    assert!(has("A /new") && has("A /etc/made") && has("C /etc") && has("A /vol"), "{diff}");
    assert!(
        !diff.contains("not-ours") && !diff.contains(".dockerenv") && !diff.contains("/etc/hosts"),
        "{diff}"
    );
    assert_eq!(image.contains("/bin/vi"), has("D /bin/vi"), "{diff}");
    let tar = tempfile::NamedTempFile::new()?;
    engine.docker(&["export", "-o", &tar.path().to_string_lossy(), "box"])?.ok()?;
    let list = tests::run::run(
        tests::run::command(Path::new("tar"), ["-tf", &tar.path().to_string_lossy()]).env("LC_ALL", "C"),
    )?
    .ok()?;
    let names: Vec<&str> = list.lines().collect();
    for name in ["new", ".dockerenv", "etc/made/", "vol/"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert!(!names.iter().any(|name| name.starts_with("vol/n")), "volumes are left out");
    engine.docker(&["commit", "box", "kept"])?.ok()?;
    assert_eq!(engine.docker(&["run", "--rm", "kept", "sh", "-c", "cat /new; ls /vol"])?.ok()?, "x");
    Ok(())
}

fn sh_list(engine: &NativeEngine, script: &str) -> Result<String> {
    Ok(engine.docker(&["run", "--rm", "busybox", "sh", "-c", script])?.stdout)
}

#[test]
fn init_reaps_and_hands_on_signals() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let run = engine.docker(&["run", "--rm", "--init", "busybox", "sh", "-c", "cat /proc/1/comm; exit 9"])?;
    assert_eq!((run.code, run.stdout.trim()), (9, "docker-init"), "{}", run.stderr);
    // An orphan is reaped, and SIGTERM reaches the command.
    let script = "trap 'echo bye; exit 3' TERM; (sleep 0.1 & ) ; echo ready; while true; do sleep 0.1; done";
    engine.docker(&["run", "-d", "--init", "--name", "box", "busybox", "sh", "-c", script])?.ok()?;
    tests::run::eventually("The command runs", || {
        Ok(engine.docker(&["logs", "box"])?.stdout.contains("ready"))
    })?;
    tests::run::eventually("The orphan is gone", || {
        Ok(!engine.docker(&["exec", "box", "ps", "-o", "stat"])?.ok()?.contains('Z'))
    })?;
    engine.docker(&["stop", "box"])?.ok()?;
    let state = engine.docker(&["inspect", "-f", "{{.State.ExitCode}} {{.Path}}", "box"])?.ok()?;
    assert_eq!(state, "3 sh");
    let missing = engine.docker(&["run", "--rm", "--init", "busybox", "nope"])?.fails(127)?;
    assert!(missing.contains("exec nope failed"), "{missing}");
    engine.docker(&["info", "-f", "{{.InitBinary}}"])?.ok().map(|name| assert_eq!(name, "docker-init"))?;
    Ok(())
}

#[test]
fn names_with_newlines_go_both_ways() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["create", "--name", "box", "busybox"])?.ok()?;
    // Too long for a plain header: it goes into an extended one.
    let (here, back) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let name = format!("new\nline-{}", "x".repeat(120));
    std::fs::write(here.path().join(&name), "content")?;
    engine.docker(&["cp", &format!("{}/.", here.path().display()), "box:/tmp"])?.ok()?;
    engine.docker(&["cp", "box:/tmp/.", &back.path().display().to_string()])?.ok()?;
    assert_eq!(std::fs::read_to_string(back.path().join(&name))?, "content");
    Ok(())
}
