//! A build of ten steps through both doors of the engine, made anew and found again, against dockerd's classic
//! builder and its BuildKit. Their figures come from `../shared/peers/native.sh`.
//!
//! What a client needs of a build that is found again is measured, too, for the classic one: against a server that
//! answers at once. No engine can be faster than that.

use crate::{images::peer_figures, sample::Sample};
use anyhow::{Context, Result, ensure};
use axum::{Router, body::Body, response::IntoResponse, routing::any};
use std::{fs, path::Path, process::Command, thread, time::Instant};
use tests::{NativeEngine, artifacts, host};

const REPEATS: usize = 5;
/// The same as the peer's.
const DOCKERFILE: &str = "FROM busybox\nENV A=1 B=2\nWORKDIR /app\nCOPY app.txt .\nCOPY blob .\nRUN echo one > /one\n\
    RUN mkdir -p /srv/data && cp /app/blob /srv/data/\n\
    RUN for i in 1 2 3 4 5 6 7 8 9 10; do echo $i > /srv/$i; done\nLABEL x=y\nCMD [\"sh\"]\n";
const BLOB: usize = 1_000_000;
/// Ours, theirs, whether it goes through buildx, and whether everything is in the cache.
const ROWS: [(&str, &str, bool, bool); 4] = [
    ("native.build10.legacy.nocache", "peer.build10.legacy.nocache", false, false),
    ("native.build10.legacy.cached", "peer.build10.legacy.cached", false, true),
    ("native.build10.buildx.nocache", "peer.build10.buildx.nocache", true, false),
    ("native.build10.buildx.cached", "peer.build10.buildx.cached", true, true),
];

pub(crate) fn bench() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("Dockerfile"), DOCKERFILE)?;
    fs::write(folder.path().join("app.txt"), "hi\n")?;
    // Nothing that compresses.
    let mut state = 1_u64;
    let blob: Vec<u8> = (0..BLOB)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect();
    fs::write(folder.path().join("blob"), blob)?;
    let client = tempfile::tempdir()?;
    let plugins = artifacts::buildx()?;
    let plugins = plugins.parent().context("buildx lies in a folder")?;
    let config = serde_json::json!({ "cliPluginsExtraDirs": [plugins] });
    fs::write(client.path().join("config.json"), config.to_string())?;
    let engine = NativeEngine::with_busybox()?;
    let mut ours = Vec::new();
    for (name, _, buildx, cached) in ROWS {
        let build = |cached: bool| build(&engine.url(), folder.path(), client.path(), buildx, cached);
        build(true)?;
        ours.push(Sample::take(name, "ms", REPEATS, || build(cached))?);
    }
    let url = instant_server(client.path())?;
    let alone = Sample::take("client.build10.legacy", "ms", REPEATS, || {
        build(&url, folder.path(), client.path(), false, true)
    })?;
    ours[1].against(&alone);
    let peer = ROWS.map(|(_, name, ..)| name);
    for (ours, theirs) in ours.iter().zip(peer_figures(&["build"], &peer)?) {
        ours.against(&theirs);
    }
    Ok(())
}

/// Milliseconds of one build.
fn build(url: &str, context: &Path, client: &Path, buildx: bool, cached: bool) -> Result<f64> {
    let context = context.to_string_lossy();
    let mut args = vec!["build", "-q", "-t", "built"];
    if !cached {
        args.push("--no-cache");
    }
    args.push(&context);
    let mut command: Command = host::docker(url, &args)?;
    command.env("DOCKER_BUILDKIT", if buildx { "1" } else { "0" });
    command.env("DOCKER_CONFIG", client).env("BUILDX_CONFIG", client);
    let started = Instant::now();
    let output = command.output()?;
    let took = started.elapsed().as_secs_f64() * 1e3;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(took)
}

/// Takes every build's context and says that it is built already; for as long as the benchmark runs. Its URL.
fn instant_server(folder: &Path) -> Result<String> {
    let path = folder.join("instant.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    listener.set_nonblocking(true)?;
    let built = |body: Body| async {
        drop(axum::body::to_bytes(body, usize::MAX).await);
        ([("api-version", "1.45")], r#"{"stream":"sha256:0\n"}"#).into_response()
    };
    thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            Ok(axum::serve(listener, Router::new().fallback(any(built))).await?)
        })
    });
    Ok(format!("unix://{}", path.display()))
}
