//! Builds and registries: base images that have to be pulled, caches that others left, images as archives.

use crate::buildx::{Builds, Context};
use anyhow::Result;
use std::{fs, process::Command};
use tests::{RealRegistry, run::run};

const BASE: &str = "127.0.0.1:5000/base:1";

#[test]
fn what_builds_stand_on_is_pulled() -> Result<()> {
    let builds = Builds::start()?;
    let _registry = RealRegistry::plain(builds.engine.network())?;
    builds.docker(&["tag", "busybox", BASE])?.ok()?;
    builds.docker(&["push", "-q", BASE])?.ok()?;
    let text = format!(
        "FROM {BASE} AS one\nRUN echo one > /one\nFROM {BASE}\nCOPY --from={BASE} /bin/sh /s\nCOPY --from=one /one /\n"
    );
    let context = Context::new(&[("Dockerfile", &text)])?;
    let folder = context.path("").to_string_lossy().into_owned();
    for (buildkit, said) in [("1", "[internal] pull 127.0.0.1:5000/base:1"), ("0", "Pulling from base")] {
        builds.docker(&["rmi", "-f", BASE])?.ok()?;
        let mut command = builds.command(&["build", "--no-cache", "-t", "built", &folder])?;
        let built = run(command.env("DOCKER_BUILDKIT", buildkit).env("BUILDKIT_PROGRESS", "plain"))?;
        assert!(built.stdout.contains(said) || built.stderr.contains(said), "{built:?}");
        built.ok()?;
        assert_eq!(builds.docker(&["run", "--rm", "built", "cat", "/one"])?.ok()?, "one");
    }
    let context = Context::new(&[("Dockerfile", "FROM 127.0.0.1:5000/none\n")])?;
    let said = builds.build(&context, &[])?.fails(1)?;
    assert!(said.contains("failed to resolve source metadata for 127.0.0.1:5000/none:latest"), "{said}");
    Ok(())
}

#[test]
fn caches_are_shared_through_registries() -> Result<()> {
    let builds = Builds::start()?;
    let _registry = RealRegistry::plain(builds.engine.network())?;
    let text = "FROM busybox AS tool\nRUN echo tool > /tool\nFROM busybox\nCOPY a /a\nRUN cat /a > /b\nCOPY --from=tool /tool /\n";
    let context = Context::new(&[("Dockerfile", text), ("a", "a file\n")])?;
    let cache = "type=registry,ref=127.0.0.1:5000/cache";
    builds.build(&context, &["--cache-to", &format!("{cache},mode=max"), "-t", "first"])?.ok()?;
    builds.build(&context, &["--cache-to", "type=inline", "--push", "-t", "127.0.0.1:5000/inline"])?.ok()?;
    let forget = || -> Result<()> {
        builds.docker(&["rmi", "-f", "first", "second", "127.0.0.1:5000/inline"])?;
        builds.docker(&["builder", "prune", "-af"])?.ok().map(drop)
    };
    // Of all stages, and of the last one only.
    for (from, cached) in [(cache, 4), ("127.0.0.1:5000/inline", 3)] {
        forget()?;
        let built = builds.build(&context, &["--cache-from", from, "-t", "second"])?;
        assert_eq!(built.stderr.matches("CACHED").count(), cached, "{}", built.stderr);
        assert!(built.stderr.contains("importing cache manifest from 127.0.0.1:5000/"), "{}", built.stderr);
        built.ok()?;
        assert_eq!(builds.docker(&["run", "--rm", "second", "cat", "/b", "/tool"])?.ok()?, "a file\ntool");
    }
    // What is not there is not used, and no reason to fail.
    builds.build(&context, &["--cache-from", "127.0.0.1:5000/none"])?.ok()?;
    let said = builds.build(&context, &["--cache-to", "type=local,dest=/nowhere"])?.fails(1)?;
    assert!(said.contains("--cache-to type=local is not supported by this engine"), "{said}");
    // The cache itself is no image here.
    assert!(!builds.docker(&["images", "-a"])?.ok()?.contains("cache"));
    Ok(())
}

#[test]
fn images_come_out_as_archives() -> Result<()> {
    let builds = Builds::start()?;
    let context = Context::new(&[("Dockerfile", "FROM busybox\nRUN echo in > /in\n")])?;
    let (docker, oci) = (context.path("docker.tar"), context.path("oci.tar"));
    for (kind, path) in [("docker", &docker), ("oci", &oci)] {
        let output = format!("type={kind},dest={}", path.display());
        builds.build(&context, &["--output", &output, "-t", "packed:1"])?.ok()?;
    }
    assert!(!builds.docker(&["images", "-a"])?.ok()?.contains("packed"), "it is none of this engine");
    builds.docker(&["load", "-q", "-i", &docker.to_string_lossy()])?.ok()?;
    assert_eq!(builds.docker(&["run", "--rm", "packed:1", "cat", "/in"])?.ok()?, "in");
    let archive = format!("oci-archive:{}", oci.display());
    assert!(
        run(Command::new("skopeo").args(["inspect", &archive]))?
            .ok()?
            .contains("\"Architecture\": \"amd64\"")
    );
    // Links of one file are not sent as many.
    let folder = context.path("out");
    builds.build(&context, &["--output", &format!("type=local,dest={}", folder.display())])?.ok()?;
    let (sh, cat) = (fs::metadata(folder.join("bin/sh"))?, fs::metadata(folder.join("bin/cat"))?);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(sh.ino(), cat.ino());
    Ok(())
}
