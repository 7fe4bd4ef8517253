//! One remote command with its input and output in our hands, for what we do to hosts ourselves.

use super::{Connection, SshError};
use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg};
use std::time::Duration;
use tokio::{sync::mpsc, time::timeout};

/// SSH's number for standard error among the extended data types.
const STDERR: u32 = 1;
/// What one SSH packet holds.
pub const CHUNK: usize = 32 * 1024;
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

/// What a command reads: chunks, from whoever makes them meanwhile, until their sender is dropped.
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

impl Connection {
    /// Runs `command` by the account's shell, feeds it `inputs`, one after the other, and waits for its end, at
    /// most `limit`.
    pub async fn run(
        &self,
        what: &'static str,
        command: &str,
        inputs: Vec<Input>,
        limit: Duration,
    ) -> Result<Output, SshError> {
        let exchange = async {
            let (mut reader, writer) = self.open_session().await?.split();
            writer.exec(true, command).await?;
            // Both at once: a command that fails early must not leave us writing for ever.
            let (output, ()) = tokio::join!(receive(&mut reader), send(&writer, inputs));
            output
        };
        timeout(limit, exchange).await.map_err(|_| SshError::Timeout { what, limit })?
    }
}

async fn send(writer: &ChannelWriteHalf<Msg>, inputs: Vec<Input>) {
    for mut input in inputs {
        while let Some(chunk) = input.recv().await {
            if writer.data_bytes(chunk).await.is_err() {
                // The command has ended; its exit code says why.
                return;
            }
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
