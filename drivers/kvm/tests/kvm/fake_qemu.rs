//! A pretended `qemu-system-x86_64`: holds the pid file's lock, speaks enough QMP, forwards nothing but
//! binds the forwarded port, and powers off when the power port says so.
//!
//! It is the test binary itself, re-executed by a small script through the test `fake_qemu_process`.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

/// What QEMU was called with, one argument a line; set by the script only.
const ARGUMENTS: &str = "FAKE_QEMU_ARGUMENTS";
/// Files in the machine's folder that change how the next QEMU behaves.
pub const IGNORES_POWER: &str = "fake-ignores-power";
pub const IGNORES_QUIT: &str = "fake-ignores-quit";
/// Holds the last words of a QEMU that ends at once.
pub const FAILS: &str = "fake-fails";

/// Writes the executable into `folder`.
pub fn install(folder: &Path) -> PathBuf {
    let path = folder.join("fake-qemu-system");
    let me = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\n{ARGUMENTS}=$(printf '%s\\n' \"$@\")\nexport {ARGUMENTS}\n\
         exec '{}' --exact fake_qemu::fake_qemu_process --nocapture\n",
        me.display()
    );
    // Another process writes it: what we had open for writing could not be run while any test forks.
    let write = r#"printf '%s' "$1" > "$2" && chmod 755 "$2""#;
    let status = process::Command::new("sh").args(["-c", write, "sh", &script]).arg(&path).status().unwrap();
    assert!(status.success());
    path
}

#[test]
fn fake_qemu_process() {
    if let Ok(arguments) = std::env::var(ARGUMENTS) {
        run(&arguments.lines().collect::<Vec<_>>());
    }
}

fn run(arguments: &[&str]) -> ! {
    if let Ok(words) = fs::read_to_string(FAILS) {
        fail(&words);
    }
    let value = |flag: &str| {
        let at = arguments.iter().position(|argument| *argument == flag).expect("flag");
        arguments[at + 1]
    };
    let pid_path = value("-pidfile").to_owned();
    let mut pid_file = File::options().create(true).truncate(false).write(true).open(&pid_path).unwrap();
    let lock = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as _,
        l_whence: nix::libc::SEEK_SET as _,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    if nix::fcntl::fcntl(&pid_file, nix::fcntl::FcntlArg::F_SETLK(&lock)).is_err() {
        fail("cannot create PID file: Cannot lock pid file: Resource temporarily unavailable");
    }
    pid_file.set_len(0).unwrap();
    writeln!(pid_file, "{}", process::id()).unwrap();

    let forward = value("-netdev").split("127.0.0.1:").nth(1).unwrap();
    let port: u16 = forward.split('-').next().unwrap().parse().unwrap();
    let Ok(_ssh) = TcpListener::bind(("127.0.0.1", port)) else {
        fail(&format!("-netdev user: Could not set up host forwarding rule 'tcp:127.0.0.1:{port}-:22'"));
    };
    fs::write("console.log", "fake guest booted\n").unwrap();
    let power = listen("power.sock");
    let _seed = listen("seed.sock");
    let monitor = listen("qmp.sock");
    thread::spawn(move || {
        for stream in monitor.incoming() {
            let _ = serve_monitor(stream.unwrap());
        }
    });
    // A test that failed leaves nobody to end us but its folder, which goes.
    thread::spawn(|| {
        while Path::new("qemu.pid").exists() {
            thread::sleep(Duration::from_millis(200));
        }
        process::exit(2)
    });
    loop {
        let (stream, _) = power.accept().unwrap();
        let mut line = String::new();
        let _ = BufReader::new(stream).read_line(&mut line);
        if line == "poweroff\n" && !Path::new(IGNORES_POWER).exists() {
            say("[    1.0] reboot: Power down\n");
            end(&pid_path);
        }
        if line == "panic\n" {
            say("[    1.0] Kernel panic - not syncing: asked to\n");
            end(&pid_path);
        }
    }
}

/// Lets the guest of the QEMU in `directory` panic or power off, as if nobody had asked it.
pub fn tell_guest(directory: &Path, word: &str) {
    UnixStream::connect(directory.join("power.sock")).unwrap().write_all(word.as_bytes()).unwrap();
}

fn serve_monitor(mut stream: UnixStream) -> std::io::Result<()> {
    let greeting = r#"{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":""},"capabilities":["oob"]}}"#;
    stream.write_all(format!("{greeting}\r\n").as_bytes())?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(Ok(line)) = lines.next() {
        let command: serde_json::Value = serde_json::from_str(&line)?;
        let answer = match command["execute"].as_str() {
            Some("query-status") => {
                serde_json::json!({ "status": "running", "singlestep": false, "running": true })
            }
            _ => serde_json::json!({}),
        };
        let mut reply = serde_json::json!({ "return": answer });
        if let Some(id) = command.get("id") {
            reply["id"] = id.clone();
        }
        stream.write_all(format!("{reply}\r\n").as_bytes())?;
        if command["execute"] == "quit" && !Path::new(IGNORES_QUIT).exists() {
            end("qemu.pid");
        }
    }
    // The monitor keeps serving until its client hangs up.
    let _ = stream.read(&mut [0]);
    Ok(())
}

fn listen(path: &str) -> UnixListener {
    let _ = fs::remove_file(path);
    UnixListener::bind(path).unwrap()
}

fn say(text: &str) {
    File::options().append(true).open("console.log").unwrap().write_all(text.as_bytes()).unwrap();
    thread::sleep(Duration::from_millis(5));
}

fn end(pid_path: &str) -> ! {
    let _ = fs::remove_file(pid_path);
    process::exit(0)
}

fn fail(words: &str) -> ! {
    eprintln!("qemu-system-x86_64: {words}");
    process::exit(1)
}
