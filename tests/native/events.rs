//! `docker events`: what dockerd 26 shows for the same commands, in its order.

use anyhow::Result;
use tests::NativeEngine;

const FORMAT: &str = "{{.Type}} {{.Action}}{{with .Actor.Attributes.exitCode}} {{.}}{{end}}\
                      {{with .Actor.Attributes.signal}} {{.}}{{end}}";

fn seconds() -> String {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs().to_string()
}

/// What happened to containers and their networks since `since`.
fn happened(engine: &NativeEngine, since: &str, filters: &[&str]) -> Result<Vec<String>> {
    // `until` is in whole seconds here: what happened in this one counts.
    let until = format!("{}.999999999", seconds());
    let args = ["events", "--since", since, "--until", &until, "--format", FORMAT];
    let text = engine.docker(&[&args, filters].concat())?.ok()?;
    Ok(text.lines().map(|line| line.trim_end().to_owned()).collect())
}

#[test]
fn every_command_is_seen_in_dockerds_order() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let ours = ["--filter", "type=container", "--filter", "type=network"];
    for (commands, expected) in [
        (
            &[&["run", "--rm", "busybox", "sh", "-c", "exit 3"][..]][..],
            &[
                "container create",
                "container attach",
                "network connect",
                "container start",
                "network disconnect",
                "container die 3",
                "container destroy",
            ][..],
        ),
        (
            &[&["run", "-d", "--name", "box", "busybox", "sleep", "1000"], &["exec", "box", "true"]],
            &[
                "container create",
                "network connect",
                "container start",
                "container exec_create: true",
                "container exec_start: true",
                "container exec_die 0",
            ],
        ),
        (
            &[
                &["pause", "box"],
                &["unpause", "box"],
                &["rename", "box", "bigger"],
                &["update", "-m", "64m", "--memory-swap", "64m", "bigger"],
            ],
            &["container pause", "container unpause", "container rename", "container update"],
        ),
        (
            &[&["restart", "-t", "0", "bigger"], &["kill", "-s", "HUP", "bigger"]],
            &[
                "container kill 15",
                "container kill 9",
                "network disconnect",
                "container stop",
                "container die 137",
                "network connect",
                "container start",
                "container restart",
                "container kill 1",
            ],
        ),
        (
            &[&["stop", "-t", "0", "bigger"], &["start", "bigger"], &["rm", "-f", "bigger"]],
            &[
                "container kill 15",
                "container kill 9",
                "network disconnect",
                "container stop",
                "container die 137",
                "network connect",
                "container start",
                "container kill 9",
                "network disconnect",
                "container die 137",
                "container destroy",
            ],
        ),
    ] {
        // `since` reaches whole seconds: what the last commands did must be in an earlier one.
        let before = seconds();
        while seconds() == before {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let since = seconds();
        for command in commands {
            engine.docker(command)?;
        }
        assert_eq!(happened(&engine, &since, &ours)?, expected, "{commands:?}");
    }
    let deaths = happened(&engine, "0", &["--filter", "event=die", "--filter", "container=bigger"])?;
    assert_eq!(deaths, ["container die 137"; 3]);
    Ok(())
}
