//! A virtio-serial port by its name, as lines in both directions.
//!
//! Nobody may be at the other end: then a read gives 0 and a write would block. So reads wait with
//! an edge-triggered epoll (a level-triggered one would report the hang-up without end), and a write
//! that cannot be done at once is the caller's to repeat.

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PORTS: &str = "/sys/class/virtio-ports";
/// Longer lines are dropped; a seed is a few kilobytes.
const MAX_LINE: usize = 1 << 20;
/// The driver makes the ports shortly after it is loaded.
const POLL: Duration = Duration::from_millis(2);

#[derive(Debug, thiserror::Error)]
pub(super) enum PortError {
    #[error("The VM has no virtio-serial port {0:?}")]
    Missing(String),
    #[error("Could not open the virtio-serial port {0:?}")]
    Open(String, #[source] io::Error),
}

/// The sending half may be used by any thread; [`LineReader`] belongs to one.
#[derive(Debug)]
pub(super) struct Port {
    file: File,
}

/// The receiving half.
#[derive(Debug)]
pub(super) struct LineReader {
    file: File,
    epoll: OwnedFd,
    lines: LineBuffer,
}

/// Opens the port, waiting for its device until `deadline`.
pub(super) fn open(name: &str, deadline: Instant) -> Result<(Port, LineReader), PortError> {
    let device = loop {
        match find(Path::new(PORTS), name) {
            Some(device) => break device,
            None if Instant::now() >= deadline => return Err(PortError::Missing(name.to_owned())),
            None => std::thread::sleep(POLL),
        }
    };
    open_device(&device).map_err(|error| PortError::Open(name.to_owned(), error))
}

fn find(ports: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(ports).ok()?.flatten().find_map(|entry| {
        let found = fs::read_to_string(entry.path().join("name")).ok()?;
        (found.trim() == name).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

fn open_device(device: &Path) -> io::Result<(Port, LineReader)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
        .open(device)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &file, EventData::new_u64(0), EventFlags::IN | EventFlags::OUT | EventFlags::ET)?;
    let writer = file.try_clone()?;
    Ok((Port { file: writer }, LineReader { file, epoll, lines: LineBuffer::default() }))
}

impl Port {
    /// Sends one line, or says `false` when it would block: nobody listens, or he is slow.
    pub(super) fn try_send(&self, line: &str) -> io::Result<bool> {
        let mut bytes = line.as_bytes().to_vec();
        bytes.push(b'\n');
        // One buffer of the device holds far more than a line: the driver takes all or nothing.
        match (&self.file).write_all(&bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What [`LineReader::next`] came back with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A line without its end.
    Line(String),
    /// The other end came, went or drained: a write that would have blocked may work now.
    Changed,
}

impl LineReader {
    /// Waits for a line or for the other end to change, at most `timeout` (a change, too).
    pub(super) fn next(&mut self, timeout: Duration) -> io::Result<Event> {
        loop {
            if let Some(line) = self.lines.pop() {
                return Ok(Event::Line(line));
            }
            if !self.fill()? {
                self.wait(timeout)?;
                if !self.fill()? {
                    return Ok(Event::Changed);
                }
            }
        }
    }

    /// Reads what is there; false when nothing was.
    fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        match self.file.read(&mut chunk) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.lines.push(&chunk[..count]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn wait(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout).ok();
        let mut events = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 1];
        match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Cuts a byte stream into lines.
#[derive(Debug, Default)]
struct LineBuffer {
    bytes: Vec<u8>,
    /// The line being received is too long; what is left of it is dropped.
    overlong: bool,
}

impl LineBuffer {
    fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        if self.overlong
            && let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n')
        {
            self.bytes.drain(..=end);
            self.overlong = false;
        }
        if self.overlong || (self.bytes.len() > MAX_LINE && !self.bytes.contains(&b'\n')) {
            self.bytes.clear();
            self.overlong = true;
        }
    }

    fn pop(&mut self) -> Option<String> {
        loop {
            let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_chunks_end() {
        let mut lines = LineBuffer::default();
        lines.push(b"{\"a\":");
        assert_eq!(lines.pop(), None);
        lines.push(b"1}\r\n\n{}\nrest");
        assert_eq!(lines.pop().as_deref(), Some("{\"a\":1}"));
        assert_eq!(lines.pop().as_deref(), Some("{}"));
        assert_eq!(lines.pop(), None);
    }

    #[test]
    fn an_endless_line_is_dropped_and_the_next_one_read() {
        let mut lines = LineBuffer::default();
        for _ in 0..300 {
            lines.push(&[b'x'; 4096]);
        }
        assert!(lines.bytes.len() <= MAX_LINE);
        lines.push(b"tail\nnext\n");
        assert_eq!(lines.pop().as_deref(), Some("next"));
    }

    #[test]
    fn a_port_is_found_by_its_name() {
        let ports = tempfile::tempdir().unwrap();
        for (device, name) in [("vport0p1", "machine.power\n"), ("vport0p2", "machine.seed\n")] {
            fs::create_dir(ports.path().join(device)).unwrap();
            fs::write(ports.path().join(device).join("name"), name).unwrap();
        }
        assert_eq!(find(ports.path(), "machine.seed"), Some(PathBuf::from("/dev/vport0p2")));
        assert_eq!(find(ports.path(), "other"), None);
    }
}
