//! `docker build` as nearly everyone runs it: through buildx, which speaks BuildKit's API.

use anyhow::{Context as _, Result};
use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;
use tests::{
    NativeEngine, artifacts, host,
    run::{Run, eventually, run, run_with_input},
};

/// An engine, and a client that has buildx.
pub(crate) struct Builds {
    pub(crate) engine: NativeEngine,
    /// The client's configuration.
    config: TempDir,
}

/// Files of a build.
pub(crate) struct Context(TempDir);

impl Builds {
    pub(crate) fn start() -> Result<Self> {
        let config = TempDir::new()?;
        let plugins = artifacts::buildx()?;
        let plugins = plugins.parent().context("buildx lies in a folder")?;
        let text = serde_json::json!({ "cliPluginsExtraDirs": [plugins] });
        fs::write(config.path().join("config.json"), text.to_string())?;
        Ok(Self { engine: NativeEngine::with_busybox()?, config })
    }

    pub(crate) fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = host::docker(&self.engine.url(), args)?;
        command.env("DOCKER_CONFIG", self.config.path()).env("BUILDX_CONFIG", self.config.path());
        Ok(command)
    }

    pub(crate) fn docker(&self, args: &[&str]) -> Result<Run> {
        run(&mut self.command(args)?)
    }

    /// `docker build ARGS… CONTEXT` with everything printed.
    pub(crate) fn build(&self, context: &Context, args: &[&str]) -> Result<Run> {
        let mut all = vec!["build", "--progress=plain"];
        all.extend(args);
        let folder = context.0.path().to_string_lossy().into_owned();
        all.push(&folder);
        self.docker(&all)
    }

    /// What a build leaves at `/out`.
    pub(crate) fn out(&self, context: &Context, args: &[&str]) -> Result<String> {
        let folder = TempDir::new()?;
        let output = format!("type=local,dest={}", folder.path().display());
        let mut all = args.to_vec();
        all.extend(["--output", &output]);
        self.build(context, &all)?.ok()?;
        Ok(fs::read_to_string(folder.path().join("out"))?)
    }
}

impl Context {
    pub(crate) fn new(files: &[(&str, &str)]) -> Result<Self> {
        let folder = TempDir::new()?;
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().context("a file has a folder")?)?;
            fs::write(path, content)?;
        }
        Ok(Self(folder))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn a_build_shows_its_steps_and_is_found_again() -> Result<()> {
    let builds = Builds::start()?;
    let context = Context::new(&[
        (
            "Dockerfile",
            "FROM busybox AS tool\nRUN echo from the tool | tee /made\nFROM busybox\nWORKDIR /app\nCOPY a .\n\
             COPY --from=tool /made .\nLABEL one=two\nCMD [\"cat\", \"a\", \"made\"]\n",
        ),
        ("a", "a file\n"),
    ])?;
    let file = context.path("id");
    let id_file = file.to_string_lossy();
    let first = builds.build(&context, &["-t", "one:1", "-t", "two", "--iidfile", &id_file])?;
    let shown = first.stderr.clone();
    first.ok()?;
    for line in [
        "[internal] load build definition from Dockerfile",
        "[internal] load metadata for docker.io/library/busybox:latest",
        "[tool 1/2] FROM docker.io/library/busybox:latest",
        "[tool 2/2] RUN echo from the tool | tee /made",
        "from the tool",
        "[stage-1 4/4] COPY --from=tool /made .",
        "naming to docker.io/library/one:1",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(!shown.contains("CACHED"), "{shown}");
    let id = fs::read_to_string(&file)?;
    assert_eq!(builds.docker(&["run", "--rm", "two"])?.ok()?, "a file\nfrom the tool");
    assert_eq!(
        builds.docker(&["inspect", "-f", "{{.Id}} {{.Config.Labels}}", "one:1"])?.ok()?,
        format!("{id} map[one:two]")
    );
    // Nothing changed: the very same image.
    let again = builds.build(&context, &["--iidfile", &id_file])?;
    assert_eq!(again.stderr.matches("CACHED").count(), 4, "{}", again.stderr);
    assert_eq!(fs::read_to_string(&file)?, id);
    // A file changed: what depends on it is made anew, and the tool is not.
    fs::write(context.path("a"), "another\n")?;
    let changed = builds.build(&context, &["-t", "two"])?;
    assert_eq!(changed.stderr.matches("CACHED").count(), 2, "{}", changed.stderr);
    assert_eq!(builds.docker(&["run", "--rm", "two"])?.ok()?, "another\nfrom the tool");
    // Steps are no images: none is left over.
    assert_eq!(builds.docker(&["images", "-aq", "--filter", "dangling=true"])?.ok()?, "");
    Ok(())
}

/// Dockerfiles, and what they leave at `/out`.
const GOLDEN: &[(&str, &str)] = &[
    (
        "ARG TAG=latest\nFROM busybox:${TAG}\nARG V=1.2.3\nARG TARGETARCH\nENV A=${V%%.*} B=${V#*.} C=${V/1/x} D=${NO:-d}\n\
         RUN echo $A $B $C $D $TARGETARCH $V > /out\n",
        "1 2.3 x.2.3 d amd64 1.2.3\n",
    ),
    ("FROM busybox\nRUN <<EOF\necho one > /out\necho two >> /out\nEOF\n", "one\ntwo\n"),
    ("FROM busybox\nRUN <<EOF\n#!/bin/sh\necho $0 > /out\nEOF\n", "/dev/pipes/EOF\n"),
    ("FROM scratch\nENV X=y\nCOPY <<EOF /out\n$X\nEOF\n", "y\n"),
    (
        "FROM busybox\nCOPY --link --chown=7:8 --chmod=640 d/b.txt /x/\nRUN stat -c '%u %g %a' /x/b.txt > /out\n",
        "7 8 640\n",
    ),
    (
        "FROM busybox\nCOPY --parents d/*.txt /x/\nCOPY --exclude=*.md d /y\nRUN cd / && find x/* y/* -type f | sort > /out\n",
        "x/d/b.txt\ny/b.txt\n",
    ),
    ("FROM busybox\nCOPY . /x\nRUN ls /x > /out\n", "Dockerfile\nd\nout.tar\n"),
    (
        "FROM busybox\nADD out.tar /x/\nCOPY out.tar /y/\nRUN stat -c '%u %g' /x/in /y/out.tar > /out\n",
        "7 8\n0 0\n",
    ),
    (
        "FROM busybox\nRUN --mount=type=bind,source=d,target=/d --mount=type=tmpfs,target=/t --mount=type=secret,id=s \\\n \
         --mount=type=bind,from=busybox,source=/bin,target=/b cat /d/b.txt /run/secrets/s > /t/x && test -e /b/sh && \\\n \
         cp /t/x /out\nRUN ls -d /d /t /b /run 2>/dev/null >> /out || true\n",
        "b\nsecret\n",
    ),
    (
        "FROM busybox AS one\nRUN mkdir /d && echo x > /d/f && chown 3:4 /d/f\nFROM busybox\nCOPY --from=one /d /d\n\
         COPY --from=one --chown=5 /d /e\nRUN stat -c '%u %g' /d/f /e/f > /out\n",
        "3 4\n5 5\n",
    ),
    // What is made on the way is the owner's, and what an archive says of its own stays.
    (
        "FROM busybox\nCOPY --chown=5:6 d/b.txt /n/m/f\nADD --chown=1:2 out.tar /x/\nUSER 33:44\nWORKDIR /w/x\nUSER root\n\
         RUN stat -c '%u %g' /n /n/m /x /x/in /w /w/x > /out\n",
        "5 6\n5 6\n1 2\n7 8\n33 44\n33 44\n",
    ),
    // Names of one file stay one file.
    (
        "FROM busybox AS one\nRUN mkdir /l && echo x > /l/a && ln /l/a /l/b\nFROM busybox\nCOPY --from=one /l /m\n\
         RUN stat -c %h /m/a > /out\n",
        "2\n",
    ),
    (
        "FROM busybox AS one\nRUN mkdir /s && echo seed > /s/f\nFROM busybox\n\
         RUN --mount=type=cache,target=/c,from=one,source=/s cp /c/f /out && hostname >> /out\n",
        "seed\nbuildkitsandbox\n",
    ),
    ("FROM busybox\nCOPY *.none d/b.txt /x\nRUN cat /x > /out\n", "b\n"),
    ("FROM busybox\nRUN --mount=type=secret,id=s,env=S echo $S > /out\n", "secret\n"),
    ("FROM busybox\nRUN --network=none ls /sys/class/net > /out\n", "lo\n"),
    ("FROM busybox AS unused\nRUN exit 1\nFROM busybox\nRUN echo fine > /out\n", "fine\n"),
    (
        "FROM other AS x\nFROM busybox\nCOPY --from=files f /f\nCOPY --from=x /bin/sh /s\nRUN cat /f > /out\n",
        "named\n",
    ),
];

#[test]
fn the_dockerfiles_language() -> Result<()> {
    let builds = Builds::start()?;
    let context = Context::new(&[
        ("d/b.txt", "b\n"),
        ("d/c.md", "c\n"),
        ("ignored", "x"),
        (".dockerignore", "# no\nignored\n*ignore\nsecret\nnamed\n"),
        ("secret", "secret"),
        ("named/f", "named\n"),
        ("in", "in\n"),
    ])?;
    let tar = Command::new("tar")
        .args(["--owner=7", "--group=8", "--numeric-owner", "-cf", "out.tar", "in"])
        .current_dir(context.0.path())
        .status()?;
    assert!(tar.success());
    fs::remove_file(context.path("in"))?;
    let secret = format!("id=s,src={}", context.path("secret").display());
    let named = format!("files={}", context.path("named").display());
    for (dockerfile, expected) in GOLDEN {
        fs::write(context.path("Dockerfile"), dockerfile)?;
        let args = [
            "--secret",
            &secret,
            "--build-context",
            &named,
            "--build-context",
            "other=docker-image://busybox",
        ];
        let out = builds.out(&context, &args).with_context(|| (*dockerfile).to_owned())?;
        // The secret has no newline of its own.
        assert_eq!(out.trim_end(), expected.trim_end(), "{dockerfile}");
    }
    Ok(())
}

#[test]
fn failures_show_the_place() -> Result<()> {
    let builds = Builds::start()?;
    for (dockerfile, args, expected) in [
        (
            "FROM busybox\nRUN echo why; exit 3\n",
            &[][..],
            "process \"/bin/sh -c echo why; exit 3\" did not complete successfully: exit code: 3",
        ),
        ("FROM scratch\nCOPY nope /\n", &[], "\"/nope\": not found"),
        ("FROM scratch\nFOO x\n", &[], "dockerfile parse error on line 2: unknown instruction: FOO"),
        ("FROM scratch AS a\n", &["--target", "b"], "target stage \"b\" could not be found"),
        ("# syntax=me/mine\nFROM scratch\n", &[], "the frontend me/mine is not supported"),
        ("FROM busybox\nRUN --mount=type=secret,id=s,required true\n", &[], "secret s: not found"),
        (
            "FROM scratch AS a\nCOPY --from=b /x /\nFROM busybox AS b\n",
            &["--target", "a"],
            "cannot copy from stage \"b\", it needs to be defined before current stage \"a\"",
        ),
    ] {
        let context = Context::new(&[("Dockerfile", dockerfile)])?;
        let shown = builds.build(&context, args)?.fails(1)?;
        assert!(shown.contains("ERROR: failed to solve: ") && shown.contains(expected), "{shown}");
        if dockerfile.contains("exit 3") {
            assert!(shown.contains("Dockerfile:2") && shown.contains(">>> RUN echo why; exit 3"), "{shown}");
        }
    }
    Ok(())
}

#[test]
fn caches_outlive_builds_until_they_are_pruned() -> Result<()> {
    let builds = Builds::start()?;
    let text = "FROM busybox\nARG N\nRUN --mount=type=cache,target=/c echo $N >> /c/n && cp /c/n /out\n";
    let context = Context::new(&[("Dockerfile", text)])?;
    assert_eq!(builds.out(&context, &["--build-arg", "N=1"])?, "1\n");
    assert_eq!(builds.out(&context, &["--build-arg", "N=2"])?, "1\n2\n");
    let used = builds.docker(&["buildx", "du", "--verbose"])?.ok()?;
    assert!(used.contains("exec.cachemount") && used.contains("RUN --mount=type=cache"), "{used}");
    builds.docker(&["builder", "prune", "-af"])?.ok()?;
    let left = builds.docker(&["buildx", "du"])?.ok()?;
    assert!(left.contains("Total:\t\t0B"), "{left}");
    assert_eq!(builds.out(&context, &["--build-arg", "N=2"])?, "2\n");
    Ok(())
}

#[test]
fn the_build_cache_is_counted_and_filtered() -> Result<()> {
    let builds = Builds::start()?;
    let text = "FROM busybox\nRUN dd if=/dev/zero of=/first bs=1000 count=300\nRUN echo second > /second\nCOPY f /f\n";
    let context = Context::new(&[("Dockerfile", text), ("f", "file")])?;
    builds.build(&context, &[])?.ok()?;
    let entries = |args: &[&str]| -> Result<usize> {
        let mut all = vec!["buildx", "du", "--verbose"];
        all.extend(args);
        Ok(builds.docker(&all)?.ok()?.matches("ID:").count())
    };
    assert_eq!(entries(&["--filter", "type=regular"])?, 3);
    assert_eq!(entries(&["--filter", "type=source.local"])?, 2, "the folders that were seen");
    assert_eq!(entries(&["--filter", "description=COPY f /f"])?, 1);
    let odd = builds.docker(&["buildx", "du", "--filter", "description~==x"])?.fails(1)?;
    assert!(odd.contains("failed to parse diskusage filters: filters: parse error"), "{odd}");
    let shown = builds.docker(&["system", "df", "--format", "{{.Type}} {{.TotalCount}}"])?.ok()?;
    assert!(shown.ends_with("Build Cache 5"), "{shown}");
    let shown = builds.docker(&["system", "df", "-v"])?.ok()?;
    assert!(shown.contains("source.local") && shown.contains("Build cache usage: 101B"), "{shown}");
    let pruned = builds.docker(&["buildx", "prune", "-f", "--filter", "type=source.local"])?.ok()?;
    assert!(pruned.contains("Total:"), "{pruned}");
    assert_eq!(entries(&[])?, 3);
    // What images have does not count, and what stands on others goes before them.
    builds.docker(&["image", "prune", "-f"])?.ok()?;
    builds.docker(&["buildx", "prune", "-af", "--keep-storage", "300008"])?.ok()?;
    let left = builds.docker(&["buildx", "du", "--verbose"])?.ok()?;
    assert!(left.contains("RUN dd") && left.contains("RUN echo") && !left.contains("COPY"), "{left}");
    Ok(())
}

#[test]
fn a_step_depends_on_what_it_runs_in() -> Result<()> {
    let builds = Builds::start()?;
    let context = Context::new(&[("Dockerfile", "FROM busybox\nRUN cat /etc/hosts > /out\n")])?;
    for (args, found) in [
        (&["--add-host", "a:1.2.3.4"][..], false),
        (&["--add-host", "a:1.2.3.4"], true),
        (&["--add-host", "a:1.2.3.5"], false),
        (&["--shm-size", "80m"], false),
        (&["--ulimit", "nofile=100:100"], false),
        (&["--ulimit", "nofile=100:100"], true),
    ] {
        let built = builds.build(&context, args)?;
        assert_eq!(built.stderr.contains("CACHED"), found, "{args:?}: {}", built.stderr);
    }
    let context = Context::new(&[("Dockerfile", "FROM busybox\nRUN --network=host true\n")])?;
    let refused = builds.build(&context, &[])?.fails(1)?;
    assert!(refused.contains("failed to load LLB: network.host is not allowed"), "{refused}");
    builds.build(&context, &["--allow", "network.host"])?.ok()?;
    let refused = builds.build(&context, &["--allow", "security.insecure"])?.fails(1)?;
    assert!(refused.contains("granting entitlement security.insecure is not allowed"), "{refused}");
    Ok(())
}

#[test]
fn copies_keep_what_kind_a_name_is() -> Result<()> {
    let builds = Builds::start()?;
    let files = [("d/x", "x"), ("d/y/z", "z")];
    for (lines, told) in [
        ("RUN mkdir -p /d/x\nCOPY d /d\n", "cannot replace to directory /d/x with file"),
        ("RUN mkdir /d && touch /d/y\nCOPY d /d\n", "cannot copy to non-directory: /d/y"),
        ("COPY d/* /t\n", "cannot copy to non-directory: /t"),
    ] {
        let dockerfile = format!("FROM busybox\n{lines}");
        let context = Context::new(&[&[("Dockerfile", dockerfile.as_str())], &files[..]].concat())?;
        let refused = builds.build(&context, &[])?.fails(1)?;
        assert!(refused.contains(&format!("ERROR: failed to solve: {told}")), "{refused}");
    }
    // A FIFO is copied as one.
    let text = "FROM busybox\nCOPY d /d\nRUN stat -c %F /d/fifo > /out\n";
    let context = Context::new(&[&[("Dockerfile", text)], &files[..]].concat())?;
    run(Command::new("mkfifo").arg(context.path("d/fifo")))?.ok()?;
    assert_eq!(builds.out(&context, &[])?, "fifo\n");
    Ok(())
}

#[test]
fn copies_follow_links_that_lead_nowhere() -> Result<()> {
    let builds = Builds::start()?;
    let text = "FROM busybox\nRUN ln -s /new/x /a && ln -s ../../made /b\nCOPY f /a\nCOPY f /b/c/\n\
                RUN cat /new/x /made/c/f && (readlink /a; readlink /b) > /out\n";
    let context = Context::new(&[("Dockerfile", text), ("f", "file\n")])?;
    assert_eq!(builds.out(&context, &[])?, "/new/x\n../../made\n");
    let folder = context.0.path().to_string_lossy().into_owned();
    let classic = run(builds.command(&["build", &folder])?.env("DOCKER_BUILDKIT", "0"))?.ok()?;
    assert!(classic.contains("\nfile\nfile\n"), "{classic}");
    // As many archives as a pattern finds, and links on the way to it.
    let text = "FROM busybox\nADD l/*.tar /t/\nCOPY <<E /e\na\\nb\nE\nRUN cat /t/1 /t/2 /e > /out\n";
    let context = Context::new(&[("Dockerfile", text), ("d/1", "1\n"), ("d/2", "2\n")])?;
    for name in ["1", "2"] {
        let tar = format!("{name}.tar");
        run(Command::new("tar").args(["-cf", &tar, name]).current_dir(context.path("d")))?.ok()?;
    }
    std::os::unix::fs::symlink("d", context.path("l"))?;
    assert_eq!(builds.out(&context, &[])?, "1\n2\nanb\n");
    // A working folder is a folder.
    let context = Context::new(&[("Dockerfile", "FROM busybox\nRUN touch /f\nWORKDIR /f\n")])?;
    let refused = builds.build(&context, &[])?.fails(1)?;
    assert!(refused.contains("Cannot mkdir: /f is not a directory"), "{refused}");
    Ok(())
}

#[test]
fn steps_show_what_their_variables_are() -> Result<()> {
    let builds = Builds::start()?;
    let text = "FROM busybox\nARG A=one\nENV B=two\nRUN echo \"$A\" '$B' $C ${B}\nRUN <<E\necho $A\n\necho 2\nE\nWORKDIR /$B\n";
    let context = Context::new(&[("Dockerfile", text)])?;
    let built = builds.build(&context, &[])?;
    let shown = built.stderr.clone();
    built.ok()?;
    for line in ["[2/4] RUN echo \"one\" '$B' $C two", "[3/4] RUN <<E (echo one...)", "[4/4] WORKDIR /two"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    Ok(())
}

#[test]
fn the_classic_builder_finds_steps_in_images_from_elsewhere() -> Result<()> {
    let builds = Builds::start()?;
    let text = |last: &str| format!("FROM busybox\nENV A=1\nCOPY f /f\nRUN echo made > /made\n{last}\n");
    let context = Context::new(&[("Dockerfile", &text("CMD [\"one\"]")), ("f", "file")])?;
    let folder = context.path("").to_string_lossy().into_owned();
    let build = |args: &[&str]| -> Result<String> {
        let mut all = vec!["build"];
        all.extend(args);
        all.push(&folder);
        run(builds.command(&all)?.env("DOCKER_BUILDKIT", "0"))?.ok()
    };
    let id = |name: &str| builds.docker(&["inspect", "-f", "{{.Id}}", name])?.ok();
    build(&["-t", "one"])?;
    let (first, archive) = (id("one")?, context.path("../one.tar").to_string_lossy().into_owned());
    builds.docker(&["save", "-o", &archive, "one"])?.ok()?;
    builds.docker(&["rmi", "one"])?.ok()?;
    builds.docker(&["load", "-i", &archive])?.ok()?;
    fs::remove_file(&archive)?;
    let found = |built: &str| built.matches("Using cache").count();
    // None of its steps is here; one that is not here cannot help.
    assert_eq!(found(&build(&["--cache-from", "nosuch", "-t", "none"])?), 0);
    assert_eq!(found(&build(&["--cache-from", "nosuch", "--cache-from", "one", "-t", "two"])?), 4);
    assert_eq!(id("two")?, first);
    fs::write(context.path("Dockerfile"), text("CMD [\"other\"]"))?;
    assert_eq!(found(&build(&["--cache-from", "one", "-t", "three"])?), 3);
    assert_eq!(builds.docker(&["run", "--rm", "three", "cat", "/made"])?.ok()?, "made");
    Ok(())
}

#[test]
fn the_classic_builder_takes_names_as_dockerd_does() -> Result<()> {
    let builds = Builds::start()?;
    let text = "FROM busybox AS x\nARG A=own\nRUN echo $A\nFROM busybox AS x\nRUN true\n";
    let context = Context::new(&[("Dockerfile", text)])?;
    let folder = context.path("").to_string_lossy().into_owned();
    let build = |args: &[&str]| -> Result<Run> {
        let mut all = vec!["build"];
        all.extend(args);
        all.push(&folder);
        run(builds.command(&all)?.env("DOCKER_BUILDKIT", "0"))
    };
    // Of two stages with one name the first is meant, and a second one is not built.
    let built = build(&["--target", "X"])?.ok()?;
    assert!(built.contains("Step 3/3 : RUN echo $A"), "{built}");
    let refused = build(&[])?.fails(1)?;
    assert!(refused.contains("x stage name already used"), "{refused}");
    let refused = build(&["--target", "0"])?.fails(1)?;
    assert!(refused.contains("target stage \"0\" could not be found"), "{refused}");
    // An argument that the client has no value for is one that was not given.
    let again = build(&["--target", "x", "--build-arg", "A"])?.ok()?;
    assert!(again.contains("Using cache"), "{again}");
    Ok(())
}

#[test]
fn the_clients_other_ways() -> Result<()> {
    let builds = Builds::start()?;
    // A Dockerfile on stdin, and an archive.
    let mut command = builds.command(&["build", "-q", "-t", "stdin", "-"])?;
    run_with_input(&mut command, b"FROM busybox\nCMD echo from stdin\n")?.ok()?;
    assert_eq!(builds.docker(&["run", "--rm", "stdin"])?.ok()?, "from stdin");
    let context =
        Context::new(&[("Dockerfile", "FROM busybox\nCOPY f /f\nCMD cat /f\n"), ("f", "packed\n")])?;
    let tar = Command::new("tar").args(["-cf", "-", "."]).current_dir(context.0.path()).output()?;
    let mut command = builds.command(&["build", "-q", "-t", "packed", "-"])?;
    run_with_input(&mut command, &tar.stdout)?.ok()?;
    assert_eq!(builds.docker(&["run", "--rm", "packed"])?.ok()?, "packed");
    // An archive out, and the answer of -q.
    let tar = context.path("out.tar");
    builds.build(&context, &["--output", &format!("type=tar,dest={}", tar.display())])?.ok()?;
    let listed = Command::new("tar").arg("-tf").arg(&tar).output()?;
    assert!(String::from_utf8_lossy(&listed.stdout).lines().any(|line| line == "f"));
    let folder = context.0.path().to_string_lossy().into_owned();
    let id = builds.docker(&["build", "-q", &folder])?.ok()?;
    assert!(id.starts_with("sha256:"), "{id}");
    assert!(builds.docker(&["buildx", "ls"])?.ok()?.contains("linux/amd64"));
    // The engine is asked where its host is.
    let context = Context::new(&[("Dockerfile", "FROM busybox\nRUN grep up /etc/hosts > /out\n")])?;
    let hosts = builds.out(&context, &["--add-host", "up:host-gateway"])?;
    assert_eq!(hosts, "172.17.0.1\tup\n");
    // What an archive is not is said.
    let output = format!("type=oci,compression=zstd,dest={}", context.path("x.tar").display());
    let told = builds.build(&context, &["--add-host", "up:host-gateway", "--output", &output])?;
    assert!(told.stderr.contains("compression=zstd is not used"), "{}", told.stderr);
    Ok(())
}

#[test]
fn an_ssh_agent_reaches_a_step() -> Result<()> {
    let builds = Builds::start()?;
    let context = Context::new(&[(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\" && echo there > /out\n",
    )])?;
    let socket = context.path("agent");
    let mut agent =
        Agent(Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn()?);
    eventually("The agent listens", || Ok(socket.exists()))?;
    let ssh = format!("default={}", socket.display());
    let out = builds.out(&context, &["--ssh", &ssh]);
    agent.0.kill()?;
    assert_eq!(out?, "there\n");
    Ok(())
}

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn an_interrupted_build_stops() -> Result<()> {
    let builds = Builds::start()?;
    let context = Context::new(&[("Dockerfile", "FROM busybox\nRUN sleep 71077107\n")])?;
    let folder = context.0.path().to_string_lossy().into_owned();
    let mut command = builds.command(&["build", &folder])?;
    let mut client = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    eventually("The step runs", || runs("71077107"))?;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(client.id())?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT)?;
    client.wait()?;
    eventually("The step is gone", || Ok(!runs("71077107")?))?;
    eventually("Nothing is left of it", || {
        let left = fs::read_dir(builds.engine.data_root().join("overlay"))?.count();
        Ok(left == 0)
    })
}

#[test]
fn targets_are_the_contexts_of_others() -> Result<()> {
    let builds = Builds::start()?;
    let context = Context::new(&[
        ("one/Dockerfile", "FROM busybox\nRUN echo one > /one\nENV SET=yes\n"),
        (
            "two/Dockerfile",
            "FROM one\nCOPY --from=one /one /copied\nRUN test \"$SET\" = yes && cat /one > /two\n",
        ),
        (
            "docker-bake.hcl",
            "target \"one\" {\n  context = \"one\"\n}\ntarget \"default\" {\n  context = \"two\"\n  \
             contexts = { one = \"target:one\" }\n  tags = [\"two\"]\n}\n",
        ),
    ])?;
    let mut command = builds.command(&["buildx", "bake", "--progress=plain"])?;
    tests::run::run(command.current_dir(context.0.path()))?.ok()?;
    assert_eq!(builds.docker(&["run", "--rm", "two", "cat", "/two", "/copied"])?.ok()?, "one\none");
    Ok(())
}

#[test]
fn equal_builds_share_their_work() -> Result<()> {
    let builds = Builds::start()?;
    let context = Context::new(&[(
        "Dockerfile",
        "FROM busybox\nRUN sleep 2; cat /proc/sys/kernel/random/uuid > /out\n",
    )])?;
    let outs = std::thread::scope(|scope| {
        let build = || scope.spawn(|| builds.out(&context, &[]));
        [build(), build()].map(|thread| thread.join())
    });
    let [one, two] = outs.map(|out| out.unwrap_or_else(|_| panic!("a build panicked")));
    assert_eq!(one?, two?, "made once");
    Ok(())
}

#[test]
fn a_build_that_a_crash_cut_leaves_nothing() -> Result<()> {
    let mut builds = Builds::start()?;
    for (buildkit, argument) in [("1", "71077201"), ("0", "71077202")] {
        let text = format!("FROM busybox\nRUN echo {argument} > /kept\nRUN sleep {argument}\n");
        let context = Context::new(&[("Dockerfile", &text)])?;
        let folder = context.0.path().to_string_lossy().into_owned();
        let mut command = builds.command(&["build", "-t", "cut", &folder])?;
        command.env("DOCKER_BUILDKIT", buildkit).stdout(Stdio::null()).stderr(Stdio::null());
        let mut client = command.spawn()?;
        eventually("The step runs", || runs(argument))?;
        builds.engine.crash()?;
        client.wait()?;
        builds.engine.spawn()?;
        eventually("The step is gone", || Ok(!runs(argument)?))?;
        eventually("Nothing is left of it", || {
            let left = fs::read_dir(builds.engine.data_root().join("overlay"))?.count();
            Ok(left == 0 && builds.docker(&["ps", "-aq"])?.ok()?.is_empty())
        })?;
        assert_eq!(builds.docker(&["images", "-q", "cut"])?.ok()?, "");
        let log = fs::read_to_string(builds.engine.log())?;
        let said = [
            "Containers of interrupted builds are removed",
            "Leftovers of an interrupted engine are removed",
        ];
        assert!(said.iter().any(|said| log.contains(said)), "{log}");
    }
    assert_eq!(builds.docker(&["run", "--rm", "busybox", "echo", "fine"])?.ok()?, "fine");
    Ok(())
}

/// Whether a `sleep` with that argument runs anywhere.
fn runs(argument: &str) -> Result<bool> {
    for process in fs::read_dir("/proc")? {
        let line = fs::read(process?.path().join("cmdline")).unwrap_or_default();
        if line.starts_with(b"sleep\0") && String::from_utf8_lossy(&line).contains(argument) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn modes_are_what_copy_asks_for() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let builds = Builds::start()?;
    let text = "FROM busybox\nCOPY --chmod=700 d /x/y/\nCOPY --chmod=u+x,go= d/a /z/\nCOPY --chmod=a+rX d/sub /w\n\
                COPY --chmod=4755 d/a /s\nCOPY --parents d/sub/b /p/\nCOPY --parents --chmod=711 d/./sub/b /q/\n\
                RUN stat -c '%a %n' /x /x/y /x/y/a /x/y/sub /x/y/sub/b /z/a /w /w/b /s /p/d /p/d/sub /p/d/sub/b /q \\\n\
                /q/sub /q/sub/b > /out\n";
    let context = Context::new(&[("Dockerfile", text), ("d/a", "a"), ("d/sub/b", "b")])?;
    for (name, mode) in [("d", 0o750), ("d/a", 0o644), ("d/sub", 0o705), ("d/sub/b", 0o600)] {
        fs::set_permissions(context.path(name), fs::Permissions::from_mode(mode))?;
    }
    // What is made to copy into has nothing to do with what is copied.
    assert_eq!(
        builds.out(&context, &[])?,
        "755 /x\n755 /x/y\n700 /x/y/a\n700 /x/y/sub\n700 /x/y/sub/b\n700 /z/a\n755 /w\n644 /w/b\n4755 /s\n\
         750 /p/d\n705 /p/d/sub\n600 /p/d/sub/b\n755 /q\n711 /q/sub\n711 /q/sub/b\n"
    );
    let context = Context::new(&[("Dockerfile", "FROM busybox\nCOPY --chmod=9 Dockerfile /\n")])?;
    let said = builds.build(&context, &[])?.fails(1)?;
    assert!(said.contains("invalid chmod parameter: '9'. it should be octal string"), "{said}");
    Ok(())
}

#[test]
fn a_working_folder_on_the_same_ground_is_found_without_the_cache() -> Result<()> {
    let builds = Builds::start()?;
    let text = "FROM busybox\nWORKDIR /a\nRUN date > /f\nWORKDIR /b\n";
    let context = Context::new(&[("Dockerfile", text)])?;
    builds.build(&context, &[])?.ok()?;
    let again = builds.build(&context, &["--no-cache"])?;
    assert_eq!(again.stderr.matches("CACHED").count(), 1, "{}", again.stderr);
    let line = again.stderr.lines().find(|line| line.contains("WORKDIR /a")).context("its line")?;
    let number = line.split(' ').next().context("its number")?;
    assert!(again.stderr.contains(&format!("{number} CACHED")), "{}", again.stderr);
    Ok(())
}
