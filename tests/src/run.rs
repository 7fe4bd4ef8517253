//! Running a program with a deadline, and saying what it did when that was not what the test wanted.

use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Generous: everything runs under emulation on two shared cores.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// How a program ended.
#[derive(Debug)]
pub struct Run {
    what: String,
    /// Exit code; 128 + signal when killed.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Run {
    /// Its stdout without the last newline, if it exited with 0.
    pub fn ok(self) -> Result<String> {
        if self.code != 0 {
            bail!(
                "`{}` exited with {}\nstdout: {}\nstderr: {}",
                self.what,
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(self.stdout.trim_end_matches('\n').to_owned())
    }

    /// Its stderr, if it exited with `code`.
    pub fn fails(self, code: i32) -> Result<String> {
        if self.code != code {
            bail!(
                "`{}` exited with {} instead of {code}\nstdout: {}\nstderr: {}",
                self.what,
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(self.stderr)
    }
}

/// A command with nothing on stdin.
pub fn command<S: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs `command` to its end, at most [`DEADLINE`].
pub fn run(command: &mut Command) -> Result<Run> {
    run_with_input(command, &[])
}

/// The same, at most for `limit`.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<Run> {
    run_to_its_end(command, &[], limit)
}

/// The same with `input` on stdin.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Result<Run> {
    run_to_its_end(command, input, DEADLINE)
}

fn run_to_its_end(command: &mut Command, input: &[u8], limit: Duration) -> Result<Run> {
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let what = format!("{command:?}");
    let started = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("Could not run {what}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // The program may end without reading; that is its business.
        thread::spawn(move || stdin.write_all(&input));
    }
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let status = wait(&mut child, &what, limit)?;
    // A background process may keep the pipes open (a keeper would be a bug): do not hang on it.
    let text = |receiver: mpsc::Receiver<Vec<u8>>| {
        receiver
            .recv_timeout(Duration::from_secs(10))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .with_context(|| format!("`{what}` ended but something still holds its output open"))
    };
    Ok(Run { stdout: text(stdout)?, stderr: text(stderr)?, code: status, took: started.elapsed(), what })
}

fn drain(source: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            // What was read before an error is still worth showing.
            drop(source.read_to_end(&mut bytes));
        }
        drop(sender.send(bytes));
    });
    receiver
}

/// Waits for `child`, kills it after `limit`.
pub fn wait(child: &mut Child, what: &str, limit: Duration) -> Result<i32> {
    use std::os::unix::process::ExitStatusExt;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("`{what}` did not end within {limit:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Polls `done` until it says so, at most [`DEADLINE`].
pub fn eventually(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !done()? {
        if started.elapsed() > DEADLINE {
            bail!("{what}: not within {DEADLINE:?}");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The pid of the process whose command line contains all of `words`.
pub fn pid_of(words: &[&str]) -> Result<Option<i32>> {
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else { continue };
        // A process may end while we look.
        let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if words.iter().all(|word| line.contains(word)) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}
