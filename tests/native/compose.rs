//! `docker compose`: a project of several services from its first `up` to `down -v`.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use tempfile::TempDir;
use tests::{
    NativeEngine, artifacts,
    host::docker,
    run::{Run, eventually, run},
};

const PROJECT: &str = r#"
name: shop
services:
  db:
    image: busybox
    pull_policy: never
    command: ["sh", "-c", "sleep 1; echo stock > /data/ready; exec httpd -f -p 80 -h /data"]
    volumes: ["data:/data"]
    networks:
      default: { aliases: [database] }
    healthcheck:
      test: ["CMD", "test", "-e", "/data/ready"]
      interval: 300ms
      timeout: 10s
      retries: 100
  web:
    image: busybox
    pull_policy: never
    init: true
    environment: { WHO: "${WHO:-nobody}" }
    tmpfs: ["/scratch:size=1m"]
    command: ["sh", "-c", "echo $$WHO sees $$(wget -q -O - http://database/ready); exec sleep 1000"]
    depends_on:
      db: { condition: service_healthy }
volumes:
  data: {}
"#;

struct Project<'a> {
    engine: &'a NativeEngine,
    folder: TempDir,
}

impl Project<'_> {
    fn compose(&self, args: &[&str]) -> Result<Run> {
        let mut command = docker(&self.engine.url(), &[&["compose", "--ansi", "never"], args].concat())?;
        run(command
            .env("DOCKER_CONFIG", artifacts::compose()?)
            .env("WHO", "web")
            .current_dir(self.folder.path()))
    }

    fn services(&self) -> Result<Vec<(String, String)>> {
        let listed = self.compose(&["ps", "-a", "--format", "json"])?.ok()?;
        let one = |line: &str| -> Result<(String, String)> {
            let service: Value = serde_json::from_str(line)?;
            let text = |key: &str| service[key].as_str().map(str::to_owned).context("no such key");
            Ok((text("Name")?, text("State")?))
        };
        let mut services = listed.lines().map(one).collect::<Result<Vec<_>>>()?;
        services.sort();
        Ok(services)
    }
}

#[test]
fn a_project_lives_from_up_to_down() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let project = Project { engine: &engine, folder: TempDir::new()? };
    fs::write(project.folder.path().join("compose.yaml"), PROJECT)?;

    project.compose(&["up", "-d"])?.ok()?;
    let running =
        |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), "running".to_owned())).collect::<Vec<_>>();
    assert_eq!(project.services()?, running(&["shop-db-1", "shop-web-1"]));
    let health = engine.docker(&["inspect", "-f", "{{.State.Health.Status}}", "shop-db-1"])?.ok()?;
    assert_eq!(health, "healthy", "the web service waited for it");
    eventually("The web service has seen the database by its alias", || {
        let logs = project.compose(&["logs", "--no-log-prefix", "web"])?.ok()?;
        Ok(logs.contains("web sees stock"))
    })?;
    assert_eq!(project.compose(&["exec", "-T", "db", "cat", "/data/ready"])?.ok()?, "stock");
    let once = project.compose(&[
        "run",
        "--rm",
        "-T",
        "--no-deps",
        "web",
        "wget",
        "-q",
        "-O",
        "-",
        "http://db/ready",
    ])?;
    assert_eq!(once.ok()?, "stock");

    project.compose(&["up", "-d", "--no-recreate", "--scale", "web=3"])?.ok()?;
    assert_eq!(project.services()?, running(&["shop-db-1", "shop-web-1", "shop-web-2", "shop-web-3"]));
    eventually("Every web service has seen the database", || {
        let logs = project.compose(&["logs", "--no-log-prefix", "web"])?.ok()?;
        Ok(logs.matches("web sees stock").count() == 3)
    })?;
    let following = std::thread::scope(|scope| -> Result<Run> {
        let logs = scope.spawn(|| project.compose(&["logs", "-f", "--no-log-prefix", "web"]));
        project.compose(&["stop", "-t", "1", "web"])?.ok()?;
        logs.join().unwrap_or_else(|_| bail!("Following the logs panicked"))
    })?;
    assert_eq!(following.ok()?.matches("web sees stock").count(), 3, "it ends with the services");
    assert_eq!(project.services()?.iter().filter(|(_, state)| state == "exited").count(), 3);
    project.compose(&["start", "web"])?.ok()?;
    project.compose(&["up", "-d", "--force-recreate", "-t", "0", "--scale", "web=1"])?.ok()?;
    assert_eq!(project.services()?.len(), 2);
    assert_eq!(project.compose(&["cp", "db:/data/ready", "copied"])?.code, 0);
    assert_eq!(fs::read_to_string(project.folder.path().join("copied"))?, "stock\n", "the volume was kept");
    assert!(project.compose(&["top"])?.ok()?.contains("httpd"));
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?.ok()?, "shop_data");

    project.compose(&["down", "-v", "-t", "0"])?.ok()?;
    assert_eq!(engine.docker(&["ps", "-aq"])?.ok()?, "");
    assert_eq!(engine.docker(&["volume", "ls", "-q"])?.ok()?, "");
    assert_eq!(engine.docker(&["network", "ls", "-q", "--filter", "type=custom"])?.ok()?, "");
    Ok(())
}
