//! A shell on a host that runs our scripts one after the other, for what we do to hosts ourselves.

use super::{Connection, SshError};
use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg};
use std::{fmt, time::Duration};
use tokio::{sync::mpsc, time::timeout};

/// SSH's number for standard error among the extended data types.
const STDERR: u32 = 1;
/// What one SSH packet holds.
pub const CHUNK: usize = 32 * 1024;
/// Of more output than this only the end is kept.
const MOST_OUTPUT: usize = 256 * 1024;
/// What the shell prints after each script, before its exit code and the end of the line.
const EXIT: &str = "\nexit=";

/// Runs the scripts that come on standard input, each with its length before it in a line of its own, with the
/// positional parameters it was started with. No byte too many may be read: the last one may have the rest of the
/// input. A `dd` that does not know `fullblock` (it is not in POSIX) has read nothing and does it byte by byte.
pub const LISTEN: &str = "while read -r length; do \
     script=$(dd bs=$length count=1 iflag=fullblock 2>/dev/null || dd bs=1 count=$length 2>/dev/null); \
     (eval \"$script\"); printf \"\\nexit=%d\\n\" $?; done";

/// What a script left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit code; 255 when a signal ended the shell.
    pub code: i32,
    /// Its standard output, as far as it is text.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// What a script reads: chunks, from whoever makes them meanwhile, until their sender is dropped.
pub type Input = mpsc::Receiver<Bytes>;

/// Input that is all there.
pub fn whole(text: &[u8]) -> Input {
    let chunks: Vec<Bytes> = text.chunks(CHUNK).map(Bytes::copy_from_slice).collect();
    let (sender, input) = mpsc::channel(chunks.len().max(1));
    for chunk in chunks {
        // There is room for all of them, and the receiver is here.
        _ = sender.try_send(chunk);
    }
    input
}

/// A shell that runs [`LISTEN`]. One command of SSH, however many scripts: each would cost a session of its own
/// on the host, and becoming root once more.
pub struct RemoteShell {
    reader: ChannelReadHalf,
    writer: ChannelWriteHalf<Msg>,
}

impl Connection {
    /// Lets the account's shell run `command`, which becomes a shell that listens.
    pub async fn listen(&self, command: &str) -> Result<RemoteShell, SshError> {
        let (reader, writer) = self.open_session().await?.split();
        writer.exec(true, command).await?;
        Ok(RemoteShell { reader, writer })
    }
}

impl fmt::Debug for RemoteShell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteShell").finish_non_exhaustive()
    }
}

impl RemoteShell {
    /// Runs `script` and waits for its end, at most `limit`.
    pub async fn run(
        &mut self,
        what: &'static str,
        script: &str,
        limit: Duration,
    ) -> Result<Output, SshError> {
        let Self { reader, writer } = self;
        exchange(what, limit, reader, send(writer, script, None)).await
    }

    /// The same of the last one, which may read `input`.
    pub async fn run_last(
        mut self,
        what: &'static str,
        script: &str,
        input: Option<Input>,
        limit: Duration,
    ) -> Result<Output, SshError> {
        let Self { reader, writer } = &mut self;
        let sending = async {
            send(writer, script, input).await;
            _ = writer.eof().await;
        };
        exchange(what, limit, reader, sending).await
    }
}

/// Both at once: a script that fails early must not leave us writing for ever.
async fn exchange(
    what: &'static str,
    limit: Duration,
    reader: &mut ChannelReadHalf,
    sending: impl Future<Output = ()>,
) -> Result<Output, SshError> {
    let exchange = async { tokio::join!(receive(reader), sending).0 };
    timeout(limit, exchange).await.map_err(|_| SshError::Timeout { what, limit })?
}

async fn send(writer: &ChannelWriteHalf<Msg>, script: &str, input: Option<Input>) {
    let head = whole(format!("{}\n{script}", script.len()).as_bytes());
    for mut part in std::iter::once(head).chain(input) {
        while let Some(chunk) = part.recv().await {
            if writer.data_bytes(chunk).await.is_err() {
                // The shell has ended; what it said tells why.
                return;
            }
        }
    }
}

async fn receive(reader: &mut ChannelReadHalf) -> Result<Output, SshError> {
    let (mut code, mut stdout, mut stderr) = (None, Vec::new(), Vec::new());
    loop {
        match reader.wait().await {
            Some(ChannelMsg::Data { data }) => {
                keep(&mut stdout, &data);
                if let Some((length, exit)) = ended(&stdout) {
                    stdout.truncate(length);
                    code = Some(exit);
                    break;
                }
            }
            Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => keep(&mut stderr, &data),
            Some(ChannelMsg::ExitStatus { exit_status }) => {
                code = Some(i32::try_from(exit_status).unwrap_or(255));
            }
            Some(ChannelMsg::ExitSignal { .. }) => code = Some(255),
            Some(ChannelMsg::Failure) => return Err(SshError::Denied { what: "to run a command" }),
            Some(ChannelMsg::Close) | None => break,
            Some(_) => {}
        }
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output { code: code.ok_or(SshError::Lost)?, stdout: text(stdout), stderr: text(stderr) })
}

/// How much of the output is the script's, and its exit code, once the shell has told it.
fn ended(stdout: &[u8]) -> Option<(usize, i32)> {
    let line = stdout.strip_suffix(b"\n")?;
    let digits = line.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, digits) = line.split_at(line.len() - digits);
    let before = before.strip_suffix(EXIT.as_bytes())?;
    Some((before.len(), std::str::from_utf8(digits).ok()?.parse().ok()?))
}

fn keep(kept: &mut Vec<u8>, data: &[u8]) {
    kept.extend_from_slice(data);
    kept.drain(..kept.len().saturating_sub(MOST_OUTPUT));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    #[test]
    fn a_shell_runs_one_script_after_the_other_and_gives_the_last_the_rest() {
        let mut shell = Command::new("sh")
            .args(["-c", LISTEN, "sh", "sudo"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let scripts = ["printf 'ünd %s' \"$1\"\nx=1; exit 3", "echo \"${x-}\"; cat"];
        let mut stdin = shell.stdin.take().unwrap();
        for script in scripts {
            write!(stdin, "{}\n{script}", script.len()).unwrap();
        }
        stdin.write_all(b"the rest\n12\nof it").unwrap();
        drop(stdin);
        let output = shell.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, "ünd sudo\nexit=3\n\nthe rest\n12\nof it\nexit=0\n");
    }

    #[test]
    fn the_end_of_a_script_is_known_by_its_exit_code() {
        assert_eq!(ended(b"a=b\n\nexit=12\n"), Some((4, 12)));
        assert_eq!(ended(b"\nexit=0\n"), Some((0, 0)));
        for text in ["", "\n", "a=b\n", "\nexit=", "\nexit=1", "\nexit=\n", "noexit=1\n"] {
            assert_eq!(ended(text.as_bytes()), None, "{text:?}");
        }
        let mut kept = vec![b'x'; MOST_OUTPUT];
        keep(&mut kept, b"\nexit=0\n");
        assert_eq!((kept.len(), ended(&kept)), (MOST_OUTPUT, Some((MOST_OUTPUT - 8, 0))));
    }
}
