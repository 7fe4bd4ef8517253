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
