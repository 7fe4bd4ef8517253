//! Commands and shells: streams, ends, terminals.

use crate::fixture::{Fixture, end};
use std::io::Write;
use std::process::Stdio;

#[test]
fn output_error_output_and_status_arrive_apart() {
    let fixture = Fixture::start();
    let output = fixture.run("echo out; echo err >&2; exit 7");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
}

#[test]
fn the_end_of_input_reaches_the_command() {
    let fixture = Fixture::start();
    let mut ssh = fixture
        .ssh()
        .args(["root@127.0.0.1", "wc -c; echo after"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = ssh.stdin.take().unwrap();
    stdin.write_all(&vec![b'x'; 3_000_000]).unwrap();
    drop(stdin);
    let output = ssh.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "3000000\nafter\n");
}

#[test]
fn a_command_that_reads_nothing_still_ends() {
    let fixture = Fixture::start();
    let mut ssh = fixture.ssh().args(["root@127.0.0.1", "exit 3"]).stdin(Stdio::piped()).spawn().unwrap();
    let held_open = ssh.stdin.take();
    assert_eq!(ssh.wait().unwrap().code(), Some(3));
    drop(held_open);
}

#[test]
fn a_signal_that_killed_the_command_is_told() {
    let fixture = Fixture::start();
    let output = fixture.ssh().args(["-v", "root@127.0.0.1", "kill -TERM $$"]).output().unwrap();
    assert_eq!(output.status.code(), Some(255));
}

#[test]
fn a_login_has_the_environment_of_root() {
    let fixture = Fixture::start();
    let mut ssh = fixture.ssh();
    ssh.args(["-o", "SetEnv=LANG=C.UTF-8", "root@127.0.0.1", "echo $HOME $USER $LANG; pwd"]);
    let output = ssh.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/root root C.UTF-8\n/root\n");
}

#[test]
fn a_terminal_has_the_size_of_the_client_s() {
    let fixture = Fixture::start();
    // `script` gives ssh a terminal of its own, and stty sets its size.
    let inner = format!("{:?}", fixture.ssh().args(["-tt", "root@127.0.0.1", "stty size; tty; exit 4"]));
    let output = std::process::Command::new("script")
        .args(["-qec", &format!("stty rows 33 cols 101; {inner}"), "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("33 101"), "{text}");
    assert!(text.contains("/dev/pts/"), "{text}");
    assert_eq!(output.status.code(), Some(4), "{text}");
}

#[test]
fn a_hung_up_terminal_ends_its_programs() {
    let fixture = Fixture::start();
    let marker = fixture.path("pid");
    let mut ssh = fixture
        .ssh()
        .args(["-tt", "root@127.0.0.1", &format!("echo $$ > {}; sleep 300", marker.display())])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = wait_for(|| std::fs::read_to_string(&marker).ok().filter(|pid| pid.ends_with('\n')));
    end(&mut ssh);
    wait_for(|| (!std::path::Path::new("/proc").join(pid.trim()).exists()).then_some(()));
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "it did not happen within 20 s");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
