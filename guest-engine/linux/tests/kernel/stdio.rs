//! Streams: half-close, terminals, logs, slow clients.

use crate::harness::{ALL, Case, OUTPUT, Wish, collect, process, soon};
use engine::ports::{AttachRequest, ExecSpec, TerminalSize};
use futures_util::StreamExt;
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn ending_stdin_ends_the_process_and_its_output_still_arrives() {
    let case = Case::new();
    let wish = Wish { stdin: true, ..Wish::default() };
    let task = case.create(&["sh", "-c", "cat; echo done"], wish).await;
    let mut streams = task.attach(ALL).await.unwrap();
    task.start().await.unwrap();
    let mut stdin = streams.stdin.take().unwrap();
    let text = "0123456789abcdef".repeat(64 * 1024);
    let write = async {
        stdin.write_all(text.as_bytes()).await.unwrap();
        stdin.shutdown().await.unwrap();
    };
    let (output, ()) = soon(async { tokio::join!(collect(streams.output), write) }).await;
    assert_eq!(output.0.len(), text.len() + 5);
    assert!(output.0.ends_with("done\n"));
    assert_eq!(soon(task.wait()).await.code, 0);
    case.finish().await;
}

#[tokio::test]
async fn a_terminal_has_its_first_window_and_can_be_resized() {
    let case = Case::new();
    let size = TerminalSize { width: 90, height: 30 };
    let wish = Wish { stdin: true, terminal: Some(size), ..Wish::default() };
    let task = case.create(
        &["sh", "-c", "stty size; while ! stty size | grep -q 132; do sleep 0.02; done; stty size"],
        wish,
    );
    let task = task.await;
    fs::write(case.folder.path().join("rootfs/bin/grep"), "").ok();
    fs::remove_file(case.folder.path().join("rootfs/bin/grep")).unwrap();
    std::os::unix::fs::symlink("busybox", case.folder.path().join("rootfs/bin/grep")).unwrap();
    let streams = task.attach(ALL).await.unwrap();
    task.start().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    task.resize(TerminalSize { width: 132, height: 40 }).await.unwrap();
    let (stdout, _) = soon(collect(streams.output)).await;
    assert_eq!(stdout, "30 90\r\n40 132\r\n");
    assert_eq!(soon(task.wait()).await.code, 0);
    case.finish().await;
}

#[tokio::test]
async fn an_exec_can_have_a_terminal_of_its_own() {
    let case = Case::new();
    let task = case.sh("sleep 1000").await;
    task.start().await.unwrap();
    let size = TerminalSize { width: 77, height: 20 };
    let spec = ExecSpec {
        process: process(&["sh", "-c", "read line; echo got $line; stty size"], true, 0),
        stdin: true,
        terminal_size: Some(size),
    };
    let exec = task.exec("tty", spec).await.unwrap();
    let mut streams = exec.attach(ALL).await.unwrap();
    exec.start().await.unwrap();
    streams.stdin.as_mut().unwrap().write_all(b"hello\n").await.unwrap();
    let (stdout, _) = soon(collect(streams.output)).await;
    assert_eq!(stdout, "hello\r\ngot hello\r\n20 77\r\n");
    assert_eq!(soon(exec.wait()).await.code, 0);
    case.finish().await;
}

#[tokio::test]
async fn the_log_is_complete_when_the_end_is_known() {
    let case = Case::new();
    let wish = Wish { log: true, user: 1000, ..Wish::default() };
    // Opening /dev/stdout again needs the pipe to belong to the user.
    let task = case.create(&["sh", "-c", "echo one > /dev/stdout; echo two >&2; printf three"], wish).await;
    task.start().await.unwrap();
    assert_eq!(soon(task.wait()).await.code, 0);
    let log = fs::read_to_string(case.log_path()).unwrap();
    let mut lines: Vec<_> = log
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", value["stream"].as_str().unwrap(), value["log"].as_str().unwrap())
        })
        .collect();
    lines.sort();
    assert_eq!(lines, ["stderr two\n", "stdout one\n", "stdout three"]);
    case.finish().await;
}

#[tokio::test]
async fn a_stalled_client_holds_the_process_back_and_its_departure_frees_it() {
    let case = Case::new();
    let wish = Wish { log: true, ..Wish::default() };
    let task = case.create(&["dd", "if=/dev/zero", "bs=64k", "count=160"], wish).await;
    let stalled = task.attach(OUTPUT).await.unwrap();
    task.start().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(500), task.wait()).await.is_err());
    drop(stalled);
    assert_eq!(soon(task.wait()).await.code, 0);
    case.finish().await;
}

#[tokio::test]
async fn two_clients_see_the_same() {
    let case = Case::new();
    let task = case.sh("echo a; echo b >&2").await;
    let first = task.attach(OUTPUT).await.unwrap();
    let second = task.attach(AttachRequest { stdin: false, stdout: false, stderr: true }).await.unwrap();
    task.start().await.unwrap();
    let (first, second) = soon(async { tokio::join!(collect(first.output), collect(second.output)) }).await;
    assert_eq!((first.0.as_str(), first.1.as_str()), ("a\n", "b\n"));
    assert_eq!((second.0.as_str(), second.1.as_str()), ("", "b\n"));
    case.finish().await;
}

/// The figure for the record: dockerd moves 28 MB/s of such lines.
#[tokio::test]
async fn output_reaches_the_log_fast() {
    let case = Case::new();
    let wish = Wish { log: true, ..Wish::default() };
    let line = "y".repeat(100);
    let script = format!("yes {line} | head -c 101000000");
    let task = case.create(&["sh", "-c", &script], wish).await;
    let mut streams = task.attach(OUTPUT).await.unwrap();
    let begun = Instant::now();
    task.start().await.unwrap();
    let mut received = 0;
    while let Some(frame) = streams.output.next().await {
        received += frame.unwrap().data.len();
    }
    let elapsed = begun.elapsed();
    assert_eq!(received, 101_000_000);
    assert_eq!(soon(task.wait()).await.code, 0);
    println!("stdout to log and client: {:.0} MB/s", 101.0 / elapsed.as_secs_f64());
    let lines = fs::read(case.log_path()).unwrap().iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(lines, 1_000_000);
    case.finish().await;
}
