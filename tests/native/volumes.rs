//! Volumes as `docker` shows and uses them.

use anyhow::Result;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;
use tests::NativeEngine;

/// An image with content where it declares a volume.
const DOCKERFILE: &[u8] = b"FROM busybox\n\
    RUN mkdir -p /data/sub && echo seed > /data/file && ln -s file /data/link && chown -R 12:34 /data && chmod 2750 /data\n\
    VOLUME /data\n";

fn with_image() -> Result<NativeEngine> {
    let engine = NativeEngine::with_busybox()?;
    let build = tests::run::run_with_input(
        tests::host::docker(&engine.url(), &["build", "-q", "-t", "seeded", "-"])?
            .env("DOCKER_BUILDKIT", "0"),
        DOCKERFILE,
    )?;
    build.ok()?;
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?.ok()?, "", "a build leaves no volume");
    Ok(engine)
}

fn sh(engine: &NativeEngine, options: &[&str], script: &str) -> Result<String> {
    engine.docker(&[&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat())?.ok()
}

#[test]
fn a_named_volume_is_made_listed_shared_and_kept_while_used() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    assert_eq!(engine.docker(&["volume", "create", "--label", "a=b", "data"])?.ok()?, "data");
    assert_eq!(engine.docker(&["volume", "create", "data"])?.ok()?, "data", "once more is the same");
    let shown: Value = serde_json::from_str(&engine.docker(&["volume", "inspect", "data"])?.ok()?)?;
    let (shown, path) = (&shown[0], engine.data_root().join("volumes/data/_data"));
    assert_eq!(
        (&shown["Driver"], &shown["Scope"], &shown["Labels"]["a"]),
        (&"local".into(), &"local".into(), &"b".into())
    );
    assert_eq!(shown["Mountpoint"], path.to_string_lossy().into_owned());
    sh(&engine, &["-v", "data:/x"], "echo kept > /x/file")?;
    assert_eq!(
        sh(&engine, &["-v", "data:/y:ro"], "cat /y/file; touch /y/no 2>&1 || true")?,
        "kept\ntouch: /y/no: Read-only file system"
    );
    assert_eq!(std::fs::read_to_string(path.join("file"))?, "kept\n");

    sh(&engine, &["-v", "made:/x"], "true")?;
    let names = |filter: &str| engine.docker(&["volume", "ls", "-q", "--filter", filter])?.ok();
    assert_eq!(names("name=^da")?, "data");
    assert_eq!(names("label=a=b")?, "data");
    assert_eq!(names("driver=local")?, "data\nmade");
    engine
        .docker(&["create", "--name", "user", "--mount", "type=volume,src=data,dst=/z,readonly", "busybox"])?
        .ok()?;
    assert_eq!((names("dangling=true")?, names("dangling=false")?), ("made".into(), "data".into()));
    let mounts: Value =
        serde_json::from_str(&engine.docker(&["inspect", "-f", "{{json .Mounts}}", "user"])?.ok()?)?;
    assert_eq!(
        mounts,
        serde_json::json!([{
            "Type": "volume", "Name": "data", "Source": path, "Destination": "/z", "Driver": "local",
            "Mode": "z", "RW": false, "Propagation": "",
        }])
    );
    let id = engine.docker(&["inspect", "-f", "{{.Id}}", "user"])?.ok()?;
    let used = engine.docker(&["volume", "rm", "data"])?.fails(1)?;
    assert!(used.contains(&format!("remove data: volume is in use - [{id}]")), "{used}");
    engine.docker(&["rm", "-v", "user"])?.ok()?;
    assert_eq!(engine.docker(&["volume", "rm", "data", "made"])?.ok()?, "data\nmade");
    let gone = engine.docker(&["volume", "inspect", "data"])?.fails(1)?;
    assert!(gone.contains("get data: no such volume"), "{gone}");
    engine.docker(&["volume", "rm", "-f", "data"])?.ok()?;
    Ok(())
}

#[test]
fn content_of_the_image_comes_with_owner_and_mode_and_anonymous_ones_go() -> Result<()> {
    let engine = with_image()?;
    let look = "stat -c '%u:%g %a' /data /data/file; readlink /data/link; cat /data/file";
    let seeded = "12:34 2750\n12:34 644\nfile\nseed";
    let run = |options: &[&str], script: &str| {
        engine.docker(&[&["run", "--rm"], options, &["seeded", "sh", "-c", script]].concat())?.ok()
    };
    assert_eq!(run(&[], look)?, seeded, "declared by the image");
    assert_eq!(run(&["--read-only"], "echo more >> /data/file && cat /data/file")?, "seed\nmore");
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?.ok()?, "", "--rm removes anonymous ones");
    assert_eq!(run(&["-v", "own:/data"], look)?, seeded);
    run(&["-v", "own:/data"], "rm /data/file; echo x > /data/other")?;
    assert_eq!(run(&["-v", "own:/data"], "ls /data")?, "link\nother\nsub", "filled only once");
    assert_eq!(run(&["-v", "empty:/data:nocopy"], "ls /data")?, "");
    assert_eq!(run(&["--mount", "type=tmpfs,dst=/data"], "ls /data")?, "", "tmpfs hides it");
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?.ok()?, "empty\nown");

    engine.docker(&["create", "--name", "cc", "-v", "/more", "seeded"])?.ok()?;
    let anonymous =
        engine.docker(&["volume", "ls", "-q", "--filter", "label=com.docker.volume.anonymous"])?.ok()?;
    assert_eq!(anonymous.lines().count(), 2);
    assert!(anonymous.lines().all(|name| name.len() == 64), "{anonymous}");
    engine.docker(&["rm", "cc"])?.ok()?;
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?.ok()?.lines().count(), 4, "without -v they stay");
    let pruned = engine.docker(&["volume", "prune", "-f"])?.ok()?;
    assert!(anonymous.lines().all(|name| pruned.contains(name)) && !pruned.contains("own"), "{pruned}");
    let pruned = engine.docker(&["volume", "prune", "-af"])?.ok()?;
    assert!(pruned.contains("own") && pruned.contains("empty"), "{pruned}");
    Ok(())
}

#[test]
fn options_of_the_local_driver_are_mounted_while_somebody_runs() -> Result<()> {
    let mut engine = NativeEngine::with_busybox()?;
    let create = |engine: &NativeEngine, name: &str, options: &[&str]| -> Result<()> {
        let options: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
        engine.docker(&[&["volume", "create"], &options[..], &[name]].concat())?.ok().map(drop)
    };
    create(&engine, "memory", &["type=tmpfs", "device=tmpfs", "o=size=64k,uid=7"])?;
    let script = "df -k /m | tail -1 | awk '{print $2}'; stat -c %u /m";
    engine.docker(&["run", "-d", "--name", "one", "-v", "memory:/m", "busybox", "sleep", "1000"])?.ok()?;
    assert_eq!(engine.docker(&["exec", "one", "sh", "-c", script])?.ok()?, "64\n7");
    engine.docker(&["exec", "one", "sh", "-c", "echo shared > /m/f"])?.ok()?;
    assert_eq!(sh(&engine, &["-v", "memory:/n"], "cat /n/f")?, "shared");
    engine.crash()?;
    engine.spawn()?;
    assert_eq!(
        sh(&engine, &["-v", "memory:/n"], "cat /n/f")?,
        "shared",
        "also after a restart of the engine"
    );
    engine.docker(&["cp", "one:/m/f", "-"])?.ok()?;
    engine.docker(&["rm", "-f", "one"])?.ok()?;
    assert!(!std::fs::read_to_string("/proc/self/mountinfo")?.contains("volumes/memory/_data"));

    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("file"), "of the host")?;
    create(&engine, "bound", &["type=none", "o=bind,ro", &format!("device={}", folder.path().display())])?;
    assert_eq!(
        sh(&engine, &["-v", "bound:/b"], "cat /b/file; touch /b/x 2>/dev/null || echo ro")?,
        "of the hostro"
    );
    create(&engine, "broken", &["type=none", "o=bind", "device=/not/there"])?;
    let failed = engine.docker(&["run", "--rm", "-v", "broken:/b:nocopy", "busybox", "true"])?;
    assert_ne!(failed.code, 0);
    assert!(
        failed.stderr.contains("failed to mount local volume: mount /not/there:")
            && failed.stderr.contains("no such file or directory"),
        "{}",
        failed.stderr
    );
    let unknown = engine.docker(&["volume", "create", "-o", "foo=bar"])?.fails(1)?;
    assert!(unknown.contains("invalid option: \"foo\""), "{unknown}");
    assert_eq!(engine.docker(&["ps", "-aq"])?.ok()?, "");
    Ok(())
}

#[test]
fn what_is_mounted_later_reaches_a_bind_that_asked_for_it() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let shared = Shared::mount()?;
    let source = shared.0.path().display();
    for (number, mode) in ["rslave", "rshared", "rprivate"].into_iter().enumerate() {
        let bind = format!("{source}:/b:{mode}");
        engine.docker(&["run", "-d", "--name", mode, "-v", &bind, "busybox", "sleep", "1000"])?.ok()?;
        let late = shared.0.path().join(number.to_string());
        std::fs::create_dir(&late)?;
        mount(Some("late"), &late, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        let seen = engine.docker(&["exec", mode, "grep", "-c", "^late ", "/proc/mounts"])?;
        assert_eq!(seen.stdout.trim() != "0", mode != "rprivate", "{mode}: {}", seen.stdout);
        umount2(&late, MntFlags::MNT_DETACH)?;
    }
    // Each bind of a container for itself.
    let binds = ["rprivate", "rslave", "rshared"].map(|mode| format!("{source}:/{mode}:{mode}"));
    let mut args = vec!["run", "-d", "--privileged", "--name", "all"];
    args.extend(binds.iter().flat_map(|bind| ["-v", bind]));
    args.extend(["busybox", "sleep", "1000"]);
    engine.docker(&args)?.ok()?;
    let late = shared.0.path().join("all");
    std::fs::create_dir(&late)?;
    mount(Some("late"), &late, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let seen = engine
        .docker(&["exec", "all", "sh", "-c", "grep '^late ' /proc/mounts | cut -d' ' -f2 | sort"])?
        .ok()?;
    assert_eq!(seen, "/rshared/all\n/rslave/all");
    let inside = "for m in rprivate rslave rshared; do mkdir /$m/$m; mount -t tmpfs inner /$m/$m; done";
    engine.docker(&["exec", "all", "sh", "-c", inside])?.ok()?;
    let here = std::fs::read_to_string("/proc/self/mounts")?;
    let inner: Vec<&str> = here.lines().filter(|line| line.starts_with("inner ")).collect();
    assert!(inner.len() == 1 && inner[0].contains("/rshared "), "{inner:?}");
    umount2(&shared.0.path().join("rshared"), MntFlags::MNT_DETACH)?;
    umount2(&late, MntFlags::MNT_DETACH)?;
    let private = tempfile::tempdir()?;
    mount(Some("alone"), private.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    mount(None::<&str>, private.path(), None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)?;
    let bind = format!("{}:/b:rslave", private.path().display());
    let refused = engine.docker(&["run", "--rm", "-v", &bind, "busybox", "true"])?;
    umount2(private.path(), MntFlags::MNT_DETACH)?;
    let refused = refused.fails(125)?;
    assert!(refused.contains("but it is not a shared or slave mount"), "{refused}");
    let refused = engine.docker(&["create", "-v", "named:/b:rslave", "busybox"])?.fails(1)?;
    assert!(refused.contains("field BindOptions must not be specified"), "{refused}");
    Ok(())
}

/// A folder whose mounts are shared, as all are in a machine.
struct Shared(tempfile::TempDir);

impl Shared {
    fn mount() -> Result<Self> {
        let shared = Self(tempfile::tempdir()?);
        let path = shared.0.path();
        mount(Some("shared"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        mount(None::<&str>, path, None::<&str>, MsFlags::MS_SHARED, None::<&str>)?;
        Ok(shared)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The folder is removed next; a mount that stays makes that fail visibly.
        let _gone_already = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_part_of_a_volume_stays_inside_it() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let prepare = "mkdir -p /v/a/b && echo deep > /v/a/b/f && ln -s a/b /v/in && ln -s /etc /v/out && ln -s ../../.. /v/up";
    sh(&engine, &["-v", "data:/v"], prepare)?;
    let mount = |subpath: &str| format!("type=volume,src=data,dst=/x,volume-subpath={subpath}");
    assert_eq!(sh(&engine, &["--mount", &mount("a/b")], "ls /x; echo more >> /x/f")?, "f");
    assert_eq!(sh(&engine, &["--mount", &mount("in/f")], "cat /x")?, "deep\nmore");
    for (path, why) in
        [("out", "escapes"), ("up", "escapes"), ("nothing", "no such file or directory"), ("../x", "")]
    {
        let refused = engine.docker(&["run", "--rm", "--mount", &mount(path), "busybox", "true"])?;
        assert_ne!(refused.code, 0, "{path}");
        assert!(refused.stderr.contains(why), "{path}: {}", refused.stderr);
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    assert!(!mounts.contains(&format!("{}/pins", engine.data_root().with_file_name("run").display())));
    Ok(())
}

#[test]
fn volumes_from_events_disk_use_and_prune() -> Result<()> {
    let engine = with_image()?;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs().to_string();
    engine.docker(&["run", "-d", "--name", "first", "-v", "named:/n", "seeded", "sleep", "1000"])?.ok()?;
    let script = "cat /data/file; touch /data/x 2>/dev/null || echo read-only; echo 0123456789 > /n/ten 2>/dev/null || echo too";
    assert_eq!(sh(&engine, &["--volumes-from", "first:ro"], script)?, "seed\nread-only\ntoo");
    assert_eq!(
        sh(&engine, &["--volumes-from", "first"], "echo 0123456789 > /n/ten; ls /n /data | wc -l")?,
        "7"
    );
    let missing =
        engine.docker(&["run", "--rm", "--volumes-from", "nobody", "busybox", "true"])?.fails(125)?;
    assert!(missing.contains("No such container: nobody"), "{missing}");

    let df: Value =
        serde_json::from_str(&engine.docker(&["system", "df", "-v", "--format", "{{json .}}"])?.ok()?)?;
    let volumes = df["Volumes"].as_array().cloned().unwrap_or_default();
    let named = volumes.iter().find(|volume| volume["Name"] == "named").cloned().unwrap_or_default();
    assert_eq!((&named["Links"], &named["Size"]), (&"1".into(), &"11B".into()), "{df:#}");
    assert!(engine.docker(&["system", "df", "-v"])?.ok()?.contains("Local Volumes space usage:"));

    engine.docker(&["rm", "-fv", "first"])?.ok()?;
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() + 1;
    let events = engine
        .docker(&[
            "events",
            "--since",
            &since,
            "--until",
            &until.to_string(),
            "--filter",
            "volume=named",
            "--format",
            "{{.Action}} {{index .Actor.Attributes \"destination\"}}",
        ])?
        .ok()?;
    let actions: Vec<&str> = events.lines().map(str::trim).collect();
    assert_eq!(actions.first(), Some(&"create"), "{events}");
    assert_eq!((actions.get(1), actions.last()), (Some(&"mount /n"), Some(&"unmount")), "{events}");
    assert_eq!(actions.iter().filter(|action| **action == "mount /n").count(), 3, "{events}");

    engine.docker(&["create", "--name", "old", "busybox"])?.ok()?;
    let pruned = engine.docker(&["system", "prune", "-f", "--volumes"])?.ok()?;
    assert!(pruned.contains("Deleted Containers:") && pruned.contains("Total reclaimed space"), "{pruned}");
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?.ok()?, "named");
    Ok(())
}
