//! A driver's process: started in a group of its own, its standard error in our log, its end in good order.
//!
//! The group keeps a Ctrl-C at the terminal from it: what the driver was doing is ours to cancel and to undo.

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    ffi::OsStr,
    io::{self, BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::{self, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// For how long it may tidy up once nobody speaks to it any more, and again once it has been told to end.
const FAREWELL: Duration = Duration::from_secs(3);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Longest line of its log that is kept whole.
const LOG_LINE: usize = 8 * 1024;
/// Longest text of its own that is shown to people.
const SHOWN: usize = 600;

/// The process. Dropping it ends it.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    group: Option<Pid>,
    last_words: Arc<Mutex<String>>,
    /// Hangs up when its standard error has ended.
    log: Receiver<()>,
}

/// Lines of bounded length from something that may never end one.
#[derive(Debug)]
pub struct Lines<R> {
    reader: BufReader<R>,
    longest: usize,
}

impl Child {
    /// Starts `program` without arguments and with `environment` besides our own.
    pub fn start(
        program: &Path,
        environment: &[(&str, &OsStr)],
    ) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        let mut process = Command::new(program)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
        let stdin = process.stdin.take().ok_or_else(missing)?;
        let stdout = process.stdout.take().ok_or_else(missing)?;
        let stderr = process.stderr.take().ok_or_else(missing)?;
        let last_words = Arc::new(Mutex::new(String::new()));
        let (heard, name) = (Arc::clone(&last_words), program.display().to_string());
        let (ended, log) = channel();
        thread::spawn(move || {
            let _ended = ended;
            let mut lines = Lines::new(stderr, LOG_LINE);
            while let Ok(Some(line)) = lines.next_cut() {
                let line = readable(&String::from_utf8_lossy(&line));
                tracing::debug!(driver = name, "{line}");
                if !line.is_empty() {
                    *lock(&heard) = line;
                }
            }
        });
        let group = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        Ok((Self { process, group, last_words, log }, stdin, stdout))
    }

    /// It closed its output: how it ended, for a sentence, with what it wrote last to its standard error.
    pub fn epitaph(&mut self) -> String {
        let how = match self.ended_within(FAREWELL) {
            Some(status) => format!("ended ({status})"),
            None => "stopped talking without ending".to_owned(),
        };
        // The thread that reads them is a moment behind.
        _ = self.log.recv_timeout(FAREWELL);
        match &*lock(&self.last_words) {
            words if words.is_empty() => how,
            words => format!("{how}; it said last: {words}"),
        }
    }

    /// Ends it and all that it started, at once.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        _ = self.process.wait();
    }

    fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(LOOK),
                _ => return None,
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Fails when nobody is left.
            _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Child {
    /// Whoever talked to it has closed its standard input; a good one ends by itself.
    fn drop(&mut self) {
        if self.ended_within(FAREWELL).is_some() {
            return;
        }
        self.signal(Signal::TERM);
        if self.ended_within(FAREWELL).is_none() {
            self.kill();
        }
    }
}

impl<R: Read> Lines<R> {
    /// Lines of `reader`, of at most `longest` bytes.
    pub fn new(reader: R, longest: usize) -> Self {
        Self { reader: BufReader::new(reader), longest }
    }

    /// The next line without its end; `None` after the last one. [`io::ErrorKind::FileTooLarge`] where
    /// it is too long, and then there is no going on.
    pub fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (line, whole) = self.read()?;
        match whole {
            true => Ok(Some(line)),
            false if line.len() >= self.longest => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok((!line.is_empty()).then_some(line)),
        }
    }

    /// The same, but a line that is too long comes in pieces.
    pub fn next_cut(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (line, whole) = self.read()?;
        Ok((whole || !line.is_empty()).then_some(line))
    }

    fn read(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let mut line = Vec::new();
        let limit = u64::try_from(self.longest).unwrap_or(u64::MAX);
        (&mut self.reader).take(limit).read_until(b'\n', &mut line)?;
        let whole = line.pop_if(|last| *last == b'\n').is_some();
        if whole {
            _ = line.pop_if(|last| *last == b'\r');
        }
        Ok((line, whole))
    }
}

/// What another program wrote, fit for a terminal: without control characters, and not endless.
pub fn readable(text: &str) -> String {
    let plain = |c: char| if c == '\n' || c == '\t' { ' ' } else { c };
    let clean: String = text.trim().chars().map(plain).filter(|c| !c.is_control()).take(SHOWN + 1).collect();
    match clean.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

fn lock(words: &Mutex<String>) -> MutexGuard<'_, String> {
    words.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded() {
        let mut lines = Lines::new(&b"a\r\n\nlast"[..], 8);
        let mut next = || lines.next_line().unwrap().map(|line| String::from_utf8(line).unwrap());
        assert_eq!(
            [next(), next(), next(), next()],
            [Some("a".into()), Some("".into()), Some("last".into()), None]
        );
        let mut lines = Lines::new(io::repeat(b'x'), 8);
        assert_eq!(lines.next_line().unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(lines.next_cut().unwrap().unwrap().len(), 8);
    }

    #[test]
    fn a_terminal_is_safe_from_it() {
        assert_eq!(readable(" a\u{1b}[31mb\n c\u{7} "), "a[31mb  c");
        assert_eq!(readable(&"x".repeat(SHOWN + 5)).chars().count(), SHOWN + 1);
    }
}
