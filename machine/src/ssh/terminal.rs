//! The local terminal while a remote one is shown in it: raw mode, size, standard input.

use super::SshError;
use bytes::Bytes;
use rustix::termios::{self, OptionalActions, Termios};
use std::{
    fs,
    io::{self, IsTerminal, Read},
    os::fd::AsFd,
    thread,
};
use tokio::{fs::File, sync::mpsc};

/// Raw mode of standard input; dropping it restores what was.
pub(super) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Enters raw mode. `None` when standard input is not a terminal.
    pub(super) fn enter() -> Result<Option<Self>, SshError> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let failed =
            |action| move |source: rustix::io::Errno| SshError::Terminal { action, source: source.into() };
        let before = termios::tcgetattr(io::stdin()).map_err(failed("read the mode of"))?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw).map_err(failed("set the mode of"))?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that went away.
        _ = termios::tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Columns and rows of the local terminal; 80 × 24 where there is none.
pub(super) fn size() -> (u32, u32) {
    [io::stdout().as_fd(), io::stdin().as_fd(), io::stderr().as_fd()]
        .into_iter()
        .find_map(|fd| termios::tcgetwinsize(fd).ok())
        .filter(|size| size.ws_col > 0 && size.ws_row > 0)
        .map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
}

/// Standard output or error as an asynchronous file. Bytes pass through unchanged and unbuffered.
pub(super) fn output(stream: &impl AsFd) -> Result<File, SshError> {
    let failed = |source| SshError::Terminal { action: "write to", source };
    let descriptor = stream.as_fd().try_clone_to_owned().map_err(failed)?;
    Ok(File::from_std(fs::File::from(descriptor)))
}

/// Standard input in chunks, ending with it. It is read by a thread of its own: a read of a terminal
/// cannot be cancelled, and the runtime must be able to end while one waits.
pub(super) fn stdin() -> Result<mpsc::Receiver<Bytes>, SshError> {
    let (sender, receiver) = mpsc::channel(4);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut input = io::stdin().lock();
            let mut buffer = vec![0; 32 * 1024];
            loop {
                match input.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => {
                        if sender.blocking_send(Bytes::copy_from_slice(&buffer[..count])).is_err() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        })
        .map_err(|source| SshError::Terminal { action: "start a reader of", source })?;
    Ok(receiver)
}
