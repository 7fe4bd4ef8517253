//! `docker version`, `info` and `events`.

use anyhow::Result;
use serde_json::Value;
use tests::{NativeEngine, host::docker};

#[test]
fn version_and_info_describe_this_engine() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let version =
        engine.docker(&["version", "-f", "{{.Server.APIVersion}} {{.Server.Os}}/{{.Server.Arch}}"])?.ok()?;
    assert_eq!(version, "1.45 linux/amd64");
    let info: Value = serde_json::from_str(&engine.docker(&["info", "-f", "{{json .}}"])?.ok()?)?;
    assert_eq!((&info["Images"], &info["Containers"]), (&1.into(), &0.into()));
    assert!(info["MemTotal"].as_u64() > Some(100 << 20) && info["NCPU"].as_u64() > Some(0));
    assert_eq!(info["DockerRootDir"], engine.data_root().to_string_lossy().into_owned());
    Ok(())
}

#[test]
fn events_tell_a_containers_life_in_order() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let since = format!("{}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs());
    engine.docker(&["run", "--rm", "--name", "ev", "busybox", "sh", "-c", "exit 3"])?.fails(3)?;
    let until = format!("{}", since.parse::<u64>()? + 3600);
    let mut command = docker(
        &engine.url(),
        &["events", "--since", &since, "--until", &until, "--format", "{{.Type}} {{.Action}}"],
    )?;
    // `until` lies in the future: the stream stays open, so read what is there and hang up.
    let mut child = command.stdout(std::process::Stdio::piped()).spawn()?;
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut seen = Vec::new();
    while !seen.iter().any(|line| line == "container destroy") {
        seen.push(lines.next().unwrap()?);
    }
    child.kill()?;
    child.wait()?;
    let of = |kind: &str| -> Vec<&str> { seen.iter().filter_map(|line| line.strip_prefix(kind)).collect() };
    assert_eq!(of("container "), ["create", "attach", "start", "die", "destroy"]);
    assert_eq!(of("network "), ["connect", "disconnect"]);
    let at = |event: &str| seen.iter().position(|line| line == event);
    assert!(
        at("network connect") < at("container start") && at("container start") < at("network disconnect")
    );
    Ok(())
}

/// Another engine would take the first one's shims and namespaces for a dead engine's.
#[test]
fn a_second_engine_on_one_run_root_or_data_root_is_refused() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?.ok()?;
    let other = engine.folder().join("other");
    for (data, run, option) in
        [(engine.data_root(), other.clone(), "--data-root"), (other.clone(), engine.run_root(), "--run-root")]
    {
        let mut command = engine.network().command(&tests::artifacts::engine()?);
        command.args(["serve", "--socket"]).arg(other.join("docker.sock"));
        command.arg("--data-root").arg(data).arg("--run-root").arg(run);
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("is in use by another engine") && text.contains(option), "{text}");
    }
    engine.docker(&["exec", "box", "true"])?.ok()?;
    Ok(())
}
