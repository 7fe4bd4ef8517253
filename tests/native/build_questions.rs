//! What `docker build` says of a Dockerfile without building it, and beside building it.

use crate::buildx::{Builds, Context};
use anyhow::Result;
use tests::run::{Run, run};

const DOCKERFILE: &str = "# base is for all\nFROM busybox AS base\n# LEVEL is how loud it is\nARG LEVEL=1\n\
    RUN --mount=type=secret,id=key,required true\nFROM base AS last\nCMD echo hi\n";

fn ask(builds: &Builds, context: &Context, question: &str) -> Result<Run> {
    let folder = context.path("").to_string_lossy().into_owned();
    let mut command = builds.command(&["buildx", "build", "-q", "--print", question, &folder])?;
    run(command.env("BUILDX_EXPERIMENTAL", "1"))
}

#[test]
fn a_dockerfile_is_described() -> Result<()> {
    let builds = Builds::start()?;
    let context = Context::new(&[("Dockerfile", DOCKERFILE)])?;
    let targets = ask(&builds, &context, "targets")?.ok()?;
    for line in ["base           is for all", "last (default)"] {
        assert!(targets.contains(line), "{targets}");
    }
    let outline = ask(&builds, &context, "outline")?.ok()?;
    for line in ["TARGET: last", "LEVEL       1       is how loud it is", "key      true"] {
        assert!(outline.contains(line), "{outline}");
    }
    let questions = ask(&builds, &context, "subrequests.describe")?.ok()?;
    assert!(questions.contains("lint                 1.0.0   Lint a Dockerfile"), "{questions}");
    let other = ask(&builds, &context, "bogus")?.fails(1)?;
    assert!(other.contains("unsupported request frontend.bogus"), "{other}");
    Ok(())
}

#[test]
fn a_dockerfile_is_checked() -> Result<()> {
    const FOUND: &str =
        "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals";
    let builds = Builds::start()?;
    let context = Context::new(&[("Dockerfile", DOCKERFILE)])?;
    let checked = ask(&builds, &context, "lint")?.ok()?;
    assert!(
        checked.contains("WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/"),
        "{checked}"
    );
    assert!(checked.contains(FOUND) && checked.contains("   7 | >>> CMD echo hi"), "{checked}");
    // The same beside a build, which goes on unless it is told otherwise.
    std::fs::write(context.path("Dockerfile"), "FROM busybox\nCMD echo hi\n")?;
    let built = builds.build(&context, &[])?;
    assert!(built.stderr.contains(&format!("JSONArgsRecommended: {FOUND} (line 2)")), "{}", built.stderr);
    built.ok()?;
    let refused =
        builds.build(&context, &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=error=true"])?.fails(1)?;
    assert!(refused.contains("lint violation found for rules: JSONArgsRecommended"), "{refused}");
    std::fs::write(
        context.path("Dockerfile"),
        "# check=skip=JSONArgsRecommended\nFROM busybox\nCMD echo hi\n",
    )?;
    let built = builds.build(&context, &[])?;
    assert!(!built.stderr.contains("JSONArgs"), "{}", built.stderr);
    built.ok()?;
    std::fs::write(context.path("Dockerfile"), "FROM busybox\nBOGUS\n")?;
    let checked = ask(&builds, &context, "lint")?.ok()?;
    assert!(
        checked.contains("ERROR: dockerfile parse error on line 2: unknown instruction: BOGUS"),
        "{checked}"
    );
    Ok(())
}
