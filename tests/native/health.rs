//! Health checks.

use anyhow::Result;
use tests::{NativeEngine, run::eventually};

#[test]
fn health_follows_the_check_and_survives_the_engine() -> Result<()> {
    let mut engine = NativeEngine::with_busybox()?;
    let args = ["run", "-d", "--name", "well", "--health-interval", "300ms", "--health-retries", "2"];
    let check = ["--health-cmd", "echo looked; test -e /tmp/ok", "busybox", "sleep", "1000"];
    engine.docker(&[&args[..], &check].concat())?.ok()?;
    let inspected =
        |engine: &NativeEngine, format: &str| engine.docker(&["inspect", "-f", format, "well"])?.ok();
    let becomes = |engine: &NativeEngine, status: &str| {
        eventually(
            &format!("It is {status}"),
            || Ok(inspected(engine, "{{.State.Health.Status}}")? == status),
        )
    };
    becomes(&engine, "unhealthy")?;
    let ps = engine.docker(&["ps", "--filter", "health=unhealthy", "--format", "{{.Status}}"])?.ok()?;
    assert!(ps.ends_with("(unhealthy)"), "{ps}");
    let log = inspected(&engine, "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}")?;
    assert!(log.starts_with("1 looked"), "{log}");

    engine.docker(&["exec", "well", "touch", "/tmp/ok"])?.ok()?;
    becomes(&engine, "healthy")?;
    engine.crash()?;
    engine.spawn()?;
    assert_eq!(inspected(&engine, "{{.State.Health.Status}}")?, "healthy");
    engine.docker(&["exec", "well", "rm", "/tmp/ok"])?.ok()?;
    becomes(&engine, "unhealthy")?;
    // The client cuts `now` down to the second.
    eventually("The events tell", || {
        let args = ["events", "--since", "1h", "--until", "0s", "--filter", "event=health_status"];
        let events = engine.docker(&[&args[..], &["--format", "{{.Action}}"]].concat())?.ok()?;
        Ok(events.starts_with("health_status: unhealthy"))
    })
}

#[test]
fn a_check_that_hangs_is_ended_and_counts_as_failed() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let args = ["run", "-d", "--name", "slow", "--health-interval", "100ms", "--health-timeout", "200ms"];
    let check = ["--health-retries", "1", "--health-cmd", "sleep 1000", "busybox", "sleep", "1001"];
    engine.docker(&[&args[..], &check].concat())?.ok()?;
    eventually("It is unhealthy", || {
        let format = "{{.State.Health.Status}} {{with .State.Health.Log}}{{(index . 0).Output}}{{end}}";
        let state = engine.docker(&["inspect", "-f", format, "slow"])?.ok()?;
        Ok(state == "unhealthy Health check exceeded timeout (200ms)")
    })?;
    let refused = engine
        .docker(&["create", "--health-interval", "1us", "--health-cmd", "true", "busybox"])?
        .fails(1)?;
    assert!(refused.contains("Interval in Healthcheck cannot be less than 1ms"), "{refused}");
    Ok(())
}
