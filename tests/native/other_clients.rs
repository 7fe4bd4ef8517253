//! Clients that are not the docker CLI: docker-py, testcontainers, dockerode and bollard.

use anyhow::Result;
use bollard::{
    Docker,
    models::ContainerCreateBody,
    query_parameters::{
        CreateContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
        StartContainerOptions, WaitContainerOptions,
    },
};
use futures_util::TryStreamExt;
use std::path::Path;
use tests::{NativeEngine, artifacts, run};

fn python(script: &str) -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let mut python = run::command(&artifacts::python()?, [artifacts::file(script)]);
    run::run(python.env("DOCKER_HOST", engine.url()))?.ok()?;
    assert_eq!(engine.docker(&["ps", "-aq"])?.ok()?, "", "it cleans up after itself");
    Ok(())
}

#[test]
fn docker_py() -> Result<()> {
    python("native/docker_py.py")
}

#[test]
fn testcontainers() -> Result<()> {
    python("native/testcontainers_py.py")
}

#[test]
fn dockerode() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let mut node = run::command(Path::new("node"), [artifacts::file("native/dockerode.js")]);
    let node = node.env("DOCKER_HOST", engine.url()).env("NODE_PATH", artifacts::node_modules()?);
    run::run(node)?.ok()?;
    Ok(())
}

#[tokio::test]
async fn bollard() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let docker =
        Docker::connect_with_unix(&engine.socket().to_string_lossy(), 60, bollard::API_DEFAULT_VERSION)?
            .negotiate_version()
            .await?;
    let body = ContainerCreateBody {
        image: Some("busybox".into()),
        cmd: Some(vec!["sh".into(), "-c".into(), "echo from bollard; exit 6".into()]),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::default().name("bol").build();
    docker.create_container(Some(options), body).await?;
    docker.start_container("bol", None::<StartContainerOptions>).await?;
    let waited: Result<Vec<_>, _> =
        docker.wait_container("bol", None::<WaitContainerOptions>).try_collect().await;
    match waited {
        Err(bollard::errors::Error::DockerContainerWaitError { code, .. }) => assert_eq!(code, 6),
        other => panic!("bollard reports a code other than 0 as an error, but {other:?}"),
    }
    let options = LogsOptionsBuilder::default().stdout(true).build();
    let logs: Vec<_> = docker.logs("bol", Some(options)).try_collect().await?;
    assert_eq!(logs.iter().map(ToString::to_string).collect::<String>(), "from bollard\n");
    let listed = docker.list_containers(None::<bollard::query_parameters::ListContainersOptions>).await?;
    assert!(listed.is_empty(), "it has ended");
    docker
        .remove_container("bol", Some(RemoveContainerOptionsBuilder::default().force(true).build()))
        .await?;
    Ok(())
}
