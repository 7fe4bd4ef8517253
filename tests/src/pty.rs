//! A program on a terminal, for what people do with `-it`.

use anyhow::{Context, Result, bail};
use nix::pty::{Winsize, openpty};
use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// A running program and its terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    master: File,
    output: mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Starts `command` on a terminal of `columns` × `rows`.
    pub fn start(command: &mut Command, columns: u16, rows: u16) -> Result<Self> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None)?;
        let slave = File::from(pty.slave);
        let child = command
            .stdin(Stdio::from(slave.try_clone()?))
            .stdout(Stdio::from(slave.try_clone()?))
            .stderr(Stdio::from(slave))
            .spawn()?;
        let master = File::from(pty.master);
        let mut reader = master.try_clone()?;
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO is how a terminal says that nobody holds its other end any more.
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, master, output, seen: String::new() })
    }

    /// Types.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.master.write_all(text.as_bytes()).context("Could not type")
    }

    /// Waits until `text` has been printed.
    pub fn expect(&mut self, text: &str) -> Result<()> {
        let started = Instant::now();
        while !self.seen.contains(text) {
            let left = crate::run::DEADLINE.saturating_sub(started.elapsed());
            match self.output.recv_timeout(left.min(Duration::from_secs(60))) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => bail!("{text:?} was not printed, but {:?}", self.seen),
            }
        }
        let end = self.seen.find(text).map_or(0, |at| at + text.len());
        self.seen.drain(..end);
        Ok(())
    }

    /// Waits for the end and gives the exit code.
    pub fn wait(mut self) -> Result<i32> {
        crate::run::wait(&mut self.child, "the program on the terminal", crate::run::DEADLINE)
    }
}
