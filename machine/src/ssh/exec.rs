//! One remote command with its input and output in our hands, for what we do to hosts ourselves.

use super::{Connection, SshError};
use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg};
use std::time::Duration;
use tokio::time::timeout;

/// SSH's number for standard error among the extended data types.
const STDERR: u32 = 1;
/// More output than this is not kept.
const MOST_OUTPUT: usize = 256 * 1024;

/// What a remote command left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit code; 255 when a signal ended it.
    pub code: i32,
    /// Its standard output, as far as it is text.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Connection {
    /// Runs `command` by the account's shell, feeds it `input`, and waits for its end, at most `limit`.
    pub async fn run(
        &self,
        what: &'static str,
        command: &str,
        input: Vec<Bytes>,
        limit: Duration,
    ) -> Result<Output, SshError> {
        let exchange = async {
            let (mut reader, writer) = self.open_session().await?.split();
            writer.exec(true, command).await?;
            // Both at once: a command that fails early must not leave us writing for ever.
            let (output, ()) = tokio::join!(receive(&mut reader), send(&writer, input));
            output
        };
        timeout(limit, exchange).await.map_err(|_| SshError::Timeout { what, limit })?
    }
}

async fn send(writer: &ChannelWriteHalf<Msg>, input: Vec<Bytes>) {
    for chunk in input {
        if writer.data_bytes(chunk).await.is_err() {
            // The command has ended; its exit code says why.
            return;
        }
    }
    _ = writer.eof().await;
}

async fn receive(reader: &mut ChannelReadHalf) -> Result<Output, SshError> {
    let (mut code, mut stdout, mut stderr) = (None, Vec::new(), Vec::new());
    loop {
        match reader.wait().await {
            Some(ChannelMsg::Data { data }) => keep(&mut stdout, &data),
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

fn keep(kept: &mut Vec<u8>, data: &[u8]) {
    let room = MOST_OUTPUT.saturating_sub(kept.len());
    kept.extend_from_slice(&data[..data.len().min(room)]);
}
