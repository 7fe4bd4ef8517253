//! Contexts and sources that the engine fetches itself: archives, Dockerfiles and git repositories.

use crate::buildx::{Builds, Context};
use anyhow::{Context as _, Result};
use std::{fs, process::Command};
use tempfile::TempDir;
use tests::{SshServer, Web, network, request::request};

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

#[test]
fn repositories_are_fetched_over_ssh() -> Result<()> {
    let builds = Builds::start()?;
    let (web, _) = served(&builds)?;
    let server = SshServer::start(builds.engine.network(), &format!("{}:22", network::ADDRESS))?;
    let agent = format!("default={}", server.agent().display());
    let secret = |path: &std::path::Path| format!("id=SSH_KNOWN_HOSTS,src={}", path.display());
    let known = secret(&server.known_hosts("host")?);
    let keys = ["--ssh", &agent, "--secret", &known];
    let place = |name: &str| format!("ssh://root@{}{}", network::ADDRESS, web.path(name).display());
    let short = format!("root@{}:{}", network::ADDRESS, web.path("repo.git").display());

    let folder = TempDir::new()?;
    let output = format!("type=local,dest={}", folder.path().display());
    for (context, expected) in [
        (place("repo.git"), "top\n"),
        (place("repo.git#:sub"), "sub\n"),
        (format!("{short}#other"), "other\n"),
    ] {
        let all = [&["build", "--output", &output], &keys[..], &[&context]].concat();
        builds.docker(&all)?.ok().with_context(|| context.clone())?;
        assert_eq!(fs::read_to_string(folder.path().join("out"))?, expected, "{context}");
    }
    // Submodules are where the repository is.
    let text = format!(
        "FROM busybox\nADD {} /r\nADD --keep-git-dir=true {short}#v1 /k\n\
         RUN cat /r/deps/module/m /k/sub/f > /out && test -e /k/.git/HEAD\n",
        place("whole.git#main")
    );
    let context = Context::new(&[("Dockerfile", &text)])?;
    assert_eq!(builds.out(&context, &keys)?, "module\nsub\n");

    // Nobody is trusted who is not known, and nobody gets in whom the server does not know.
    let stranger = secret(&server.known_hosts("stranger")?);
    let fails = |more: &[&str], context: &str| {
        let all = [&["build"], more, &[context]].concat();
        builds.docker(&all)?.fails(1)
    };
    for (more, context, expected) in [
        (&keys[..2], &short, "the host key of 192.0.2.1 is not known: it shows ssh-ed25519 SHA256:"),
        (
            &["--ssh", &agent, "--secret", &stranger],
            &short,
            "is not the one that is known: it shows ssh-ed25519",
        ),
        (&keys[..], &format!("{short}#none"), "couldn't find remote ref none"),
        (&keys[..], &place("none.git"), "does not appear to be a git repository"),
        (&keys[..], &"ssh://root@192.0.2.1:23/r.git".to_owned(), "Could not connect to 192.0.2.1 port 23"),
    ] {
        let said = fails(more, context)?;
        assert!(said.contains(expected), "{context}: {said}");
    }
    // For contexts the client sees to that itself.
    let said = builds.build(&context, &keys[2..])?.fails(1)?;
    assert!(said.contains("no SSH key \"default\" forwarded from the client"), "{said}");
    server.forget_key()?;
    let said = fails(&keys, &short)?;
    assert!(said.contains("root@192.0.2.1: Permission denied (publickey)"), "{said}");
    let head = format!("POST /build?remote={}", place("repo.git"));
    let (_, said) = request(&builds.engine, &head, "")?;
    assert!(said.contains("git over SSH needs the SSH agent of a client"), "{said}");
    Ok(())
}
