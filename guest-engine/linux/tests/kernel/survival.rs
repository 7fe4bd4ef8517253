//! The engine dies, the shim dies: what is found afterwards.

use crate::harness::{Case, OUTPUT, Wish, collect, soon};
use engine::ports::{AdoptedTask, ContainerRuntime, Task};
use std::{fs, path::Path, sync::Arc, time::Duration};

fn running(adopted: AdoptedTask) -> Arc<dyn Task> {
    match adopted {
        AdoptedTask::Running(task) => task,
        other => panic!("not running: {other:?}"),
    }
}

#[tokio::test]
async fn a_new_engine_finds_the_container_and_its_end() {
    let case = Case::new();
    let wish = Wish { stdin: true, ..Wish::default() };
    let task = case.create(&["sh", "-c", "cat; exit 9"], wish).await;
    let pid = task.pid();
    task.start().await.unwrap();
    drop(task);

    let runtime = case.another_runtime();
    let task = running(runtime.adopt(&case.id).await.unwrap());
    assert_eq!(task.pid(), pid);
    let streams = task.attach(crate::harness::ALL).await.unwrap();
    drop(streams.stdin);
    soon(collect(streams.output)).await;
    assert_eq!(soon(task.wait()).await.code, 9);
    match runtime.adopt(&case.id).await.unwrap() {
        AdoptedTask::Exited(status) => assert_eq!(status.code, 9),
        other => panic!("{other:?}"),
    }
    case.finish().await;
}

#[tokio::test]
async fn an_end_nobody_saw_is_on_record() {
    let case = Case::new();
    let task = case.sh("sleep 0.1; exit 3").await;
    task.start().await.unwrap();
    drop(task);
    let runtime = case.another_runtime();
    tokio::time::sleep(Duration::from_millis(400)).await;
    match runtime.adopt(&case.id).await.unwrap() {
        AdoptedTask::Exited(status) => assert_eq!(status.code, 3),
        other => panic!("{other:?}"),
    }
    case.finish().await;
}

#[tokio::test]
async fn without_its_shim_a_container_is_killed_and_gone() {
    let case = Case::new();
    let task = case.sh("sleep 1000").await;
    task.start().await.unwrap();
    let pid = task.pid();
    let streams = task.attach(OUTPUT).await.unwrap();
    kill_shim_of(pid);
    assert_eq!(soon(task.wait()).await.code, 137);
    assert_eq!(soon(collect(streams.output)).await.0, "");
    soon(async {
        while Path::new(&format!("/proc/{pid}/exe")).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(matches!(case.another_runtime().adopt(&case.id).await.unwrap(), AdoptedTask::Gone));
    case.finish().await;
}

#[tokio::test]
async fn what_never_was_is_gone() {
    let case = Case::new();
    assert!(matches!(case.runtime.adopt(&case.id).await.unwrap(), AdoptedTask::Gone));
    assert!(matches!(case.runtime.adopt_exec(&case.id, "x").await.unwrap(), AdoptedTask::Gone));
    case.finish().await;
}

/// Memory of a shim while its container runs; the goal is 1.4 MiB.
#[tokio::test]
async fn a_shim_is_small() {
    let case = Case::new();
    let task = case.sh("sleep 1000").await;
    task.start().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", parent_of(task.pid()))).unwrap();
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap().trim().to_owned();
    println!("PSS of one shim: {pss}");
    case.finish().await;
}

fn parent_of(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    line.trim().parse().unwrap()
}

fn kill_shim_of(pid: u32) {
    let shim = parent_of(pid);
    let name = fs::read_to_string(format!("/proc/{shim}/comm")).unwrap();
    assert_eq!(name.trim(), "machine-shim", "the container is not a child of its shim");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim.cast_signed()), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
}
