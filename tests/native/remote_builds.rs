//! Contexts and sources that the engine fetches itself: archives, Dockerfiles and git repositories.

use crate::buildx::{Builds, Context};
use anyhow::{Context as _, Result};
use std::{fs, process::Command};
use tempfile::TempDir;
use tests::{Web, request::request};

const ADDRESS: &str = "127.0.0.1:8000";
const DOCKERFILE: &str = "FROM busybox\nCOPY f /f\nRUN cat /f > /out\n";

/// A server with a repository, an archive and a Dockerfile.
fn served(builds: &Builds) -> Result<(Web, String)> {
    let web = Web::start(builds.engine.network(), ADDRESS)?;
    let commit = web.repository(
        "repo",
        &[("Dockerfile", DOCKERFILE), ("f", "top\n"), ("sub/Dockerfile", DOCKERFILE), ("sub/f", "sub\n")],
    )?;
    web.branch("repo", "other", &[("f", "other\n")])?;
    web.repository("module", &[("m", "module\n")])?;
    web.repository("whole", &[("f", "whole\n")])?;
    web.submodule("whole", "deps/module", "module")?;
    let tar = Command::new("tar")
        .args(["-czf"])
        .arg(web.path("context.tgz"))
        .arg("-C")
        .arg(web.path("repo/sub"))
        .arg(".")
        .status()?;
    assert!(tar.success());
    fs::write(web.path("plain"), "FROM busybox\nRUN echo plain > /out\n")?;
    Ok((web, commit))
}

/// What a build of `context` leaves at `/out`.
fn out(builds: &Builds, context: &str) -> Result<String> {
    let folder = TempDir::new()?;
    let output = format!("type=local,dest={}", folder.path().display());
    builds.docker(&["build", "--output", &output, context])?.ok().with_context(|| context.to_owned())?;
    Ok(fs::read_to_string(folder.path().join("out"))?)
}

#[test]
fn contexts_are_fetched() -> Result<()> {
    let builds = Builds::start()?;
    let (web, commit) = served(&builds)?;
    for (context, expected) in [
        ("repo.git", "top\n"),
        ("repo.git#:sub", "sub\n"),
        ("repo.git#other", "other\n"),
        ("repo.git#v1", "top\n"),
        (&format!("repo.git#{commit}:sub"), "sub\n"),
        ("context.tgz", "sub\n"),
        ("plain", "plain\n"),
    ] {
        assert_eq!(out(&builds, &format!("{}/{context}", web.url))?, expected, "{context}");
    }
    for (context, expected) in [
        ("repo.git#none", "couldn't find remote ref none"),
        ("repo.git#main:none", "the repository has no folder \"none\""),
        ("none.git", "failed to fetch remote http://127.0.0.1:8000/none.git"),
        ("none", "with status 404 Not Found"),
    ] {
        let said = builds.docker(&["build", &format!("{}/{context}", web.url)])?.fails(1)?;
        assert!(said.contains(expected), "{context}: {said}");
    }
    // The classic builder's way, which is the API's only: its client clones for itself.
    for (context, expected) in [("repo.git%23main:sub", "Successfully tagged classic"), ("plain", "plain")] {
        let head = format!("POST /build?t=classic&remote={}/{context}", web.url);
        let (status, said) = request(&builds.engine, &head, "")?;
        assert!(status == 200 && said.contains(expected), "{said}");
    }
    Ok(())
}

#[test]
fn sources_of_add_are_fetched() -> Result<()> {
    let builds = Builds::start()?;
    let (web, _) = served(&builds)?;
    let url = &web.url;
    let text = format!(
        "FROM busybox\nADD {url}/whole.git#main /r\nADD --keep-git-dir=true {url}/repo.git#other /k\n\
         ADD {url}/plain /x/\nADD --chown=3:4 --chmod=640 {url}/context.tgz /y\n\
         ADD --unpack=true {url}/context.tgz /z/\nCOPY --from=named f /n\n\
         RUN cat /r/deps/module/m /k/f /z/f /n > /out && test -e /k/.git/HEAD && test ! -e /r/.git && \\\n \
         stat -c '%a %u' /x/plain /y >> /out\n"
    );
    let context = Context::new(&[("Dockerfile", &text)])?;
    let named = format!("named={url}/repo.git#main:sub");
    let out = builds.out(&context, &["--build-context", &named])?;
    assert_eq!(out, "module\nother\nsub\nsub\n600 0\n640 3\n");
    // What it hashes to can be said.
    let wrong = format!("sha256:{}", "0".repeat(64));
    let text = format!("FROM scratch\nADD --checksum={wrong} {url}/plain /x\n");
    let context = Context::new(&[("Dockerfile", &text)])?;
    let said = builds.build(&context, &[])?.fails(1)?;
    assert!(said.contains(&format!(": {wrong}")) && said.contains("digest mismatch sha256:"), "{said}");
    // An image of files from elsewhere.
    let said = builds.docker(&["import", &format!("{url}/context.tgz"), "imported"])?.ok()?;
    assert!(said.starts_with("Downloading from http://") && said.contains("sha256:"), "{said}");
    assert_eq!(
        builds.docker(&["history", "--format", "{{.Comment}}", "imported"])?.ok()?,
        format!("Imported from {url}/context.tgz")
    );
    Ok(())
}
