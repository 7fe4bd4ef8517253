//! `machine ssh`: one command or an interactive shell, with the local streams attached.

use super::{
    Connector, SshError,
    terminal::{self, RawMode},
};
use bytes::Bytes;
use machine_drivers::Access;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, client::Msg};
use std::{env, io, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::timeout,
};

/// The server's answer to a request for a terminal, a command or a shell.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// SSH's number for standard error among the extended data types.
const STDERR: u32 = 1;

/// Runs `command` in the machine, or an interactive shell for `None`, and returns its exit code: 128 plus
/// the signal's number when a signal ended it. The words of a command are joined with spaces and read by
/// the remote shell, as `ssh` does. With `tty` the command gets a terminal of the local one's size.
///
/// Standard input is forwarded until its end, which the command sees as end of file.
pub async fn run_command(
    access: &Access,
    directory: &Path,
    command: Option<Vec<String>>,
    tty: bool,
) -> Result<i32, SshError> {
    let connection = Connector::new(access, directory)?.connect().await?;
    let (mut reader, writer) = connection.open_session().await?.split();
    if tty {
        let (columns, rows) = terminal::size();
        let term = env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
        writer.request_pty(true, &term, columns, rows, 0, 0, &[]).await?;
        granted(&mut reader, "a terminal").await?;
    }
    match command {
        Some(words) => writer.exec(true, words.join(" ")).await?,
        None => writer.request_shell(true).await?,
    }
    // Output may come before the grant is read: from here on all messages go one way.
    let raw = if tty { RawMode::enter()? } else { None };
    let result = Session { reader, writer: Arc::new(writer), tty }.run(terminal::stdin()?).await;
    drop(raw);
    connection.close().await;
    result
}

/// Waits for the answer to the last request.
async fn granted(reader: &mut ChannelReadHalf, what: &'static str) -> Result<(), SshError> {
    let answer = async {
        loop {
            match reader.wait().await {
                Some(ChannelMsg::Success) => return Ok(()),
                Some(ChannelMsg::Failure) => return Err(SshError::Denied { what }),
                Some(_) => {}
                None => return Err(SshError::Lost),
            }
        }
    };
    timeout(REQUEST_LIMIT, answer)
        .await
        .map_err(|_| SshError::Timeout { what: "The SSH server's answer", limit: REQUEST_LIMIT })?
}

struct Session {
    reader: ChannelReadHalf,
    writer: Arc<ChannelWriteHalf<Msg>>,
    tty: bool,
}

impl Session {
    async fn run(mut self, input: mpsc::Receiver<Bytes>) -> Result<i32, SshError> {
        let on = |kind, action| signal(kind).map_err(|source| SshError::Terminal { action, source });
        let mut resized = on(SignalKind::window_change(), "watch the size of")?;
        let mut terminated = on(SignalKind::terminate(), "watch")?;
        let mut hung_up = on(SignalKind::hangup(), "watch")?;
        let forward = tokio::spawn(forward_input(input, Arc::clone(&self.writer)));

        let result = tokio::select! {
            result = self.receive(&mut resized) => result,
            // The terminal's mode must be restored, so these two may not simply kill us.
            _ = terminated.recv() => Ok(128 + 15),
            _ = hung_up.recv() => Ok(128 + 1),
        };
        forward.abort();
        result
    }

    async fn receive(&mut self, resized: &mut Signal) -> Result<i32, SshError> {
        let (mut out, mut err) = (terminal::output(&io::stdout())?, terminal::output(&io::stderr())?);
        let mut code = None;
        loop {
            let message = tokio::select! {
                message = self.reader.wait() => message,
                _ = resized.recv(), if self.tty => {
                    let (columns, rows) = terminal::size();
                    self.writer.window_change(columns, rows, 0, 0).await?;
                    continue;
                }
            };
            let written = match message {
                Some(ChannelMsg::Data { data }) => write(&mut out, &data).await,
                Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => write(&mut err, &data).await,
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    code = Some(i32::try_from(exit_status).unwrap_or(255));
                    Ok(())
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    code = Some(128 + signal_number(&signal_name));
                    Ok(())
                }
                Some(ChannelMsg::Failure) => return Err(SshError::Denied { what: "to run the command" }),
                Some(ChannelMsg::Close) | None => return code.ok_or(SshError::Lost),
                Some(_) => Ok(()),
            };
            if written.is_err() {
                // Our reader is gone (`| head`): what a local command would die of.
                return Ok(128 + 13);
            }
        }
    }
}

async fn write(stream: &mut (impl AsyncWriteExt + Unpin), data: &[u8]) -> io::Result<()> {
    stream.write_all(data).await?;
    stream.flush().await
}

async fn forward_input(mut input: mpsc::Receiver<Bytes>, writer: Arc<ChannelWriteHalf<Msg>>) {
    while let Some(chunk) = input.recv().await {
        if writer.data_bytes(chunk).await.is_err() {
            return;
        }
    }
    // The session may have ended meanwhile; then there is nobody to tell.
    _ = writer.eof().await;
}

fn signal_number(signal: &Sig) -> i32 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(name) => match name.as_str() {
            "BUS" => 7,
            "USR2" => 12,
            "XCPU" => 24,
            "XFSZ" => 25,
            "SYS" => 31,
            _ => 0,
        },
    }
}
