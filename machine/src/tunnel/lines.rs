//! A conversation over a channel of its own: lines of text, or bytes as they come.

use super::pool::Pool;
use crate::ssh::{Connection, SshError};
use bytes::{Buf, BytesMut};
use guest_contract::ports::LONGEST_LINE;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg};
use std::io;

/// Ends, with its connection, when it is dropped.
pub(crate) struct Lines {
    _connection: Connection,
    reader: ChannelReadHalf,
    writer: ChannelWriteHalf<Msg>,
    received: BytesMut,
}

impl Lines {
    pub(super) async fn open(pool: &Pool, target: &str) -> Result<Self, SshError> {
        let connection = pool.take().await?;
        match connection.open_socket(target).await {
            Ok(channel) => {
                let (reader, writer) = channel.split();
                Ok(Self { _connection: connection, reader, writer, received: BytesMut::new() })
            }
            Err(error) => {
                if let SshError::Target { .. } = error {
                    pool.give_back(connection);
                }
                Err(error)
            }
        }
    }

    /// Sends one line.
    pub(crate) async fn send(&self, line: &str) -> io::Result<()> {
        self.send_bytes(format!("{line}\n").into_bytes()).await
    }

    pub(crate) async fn send_bytes(&self, bytes: Vec<u8>) -> io::Result<()> {
        self.writer.data_bytes(bytes).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// The next line; `None` when the other side has ended.
    pub(crate) async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line = self.take(end + 1);
                return match String::from_utf8(line[..end].to_vec()) {
                    Ok(line) => Ok(Some(line)),
                    Err(_) => Err(io::ErrorKind::InvalidData.into()),
                };
            }
            if self.received.len() > LONGEST_LINE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if !self.receive().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for more bytes; whether there are any.
    pub(crate) async fn receive(&mut self) -> io::Result<bool> {
        loop {
            match self.reader.wait().await {
                Some(ChannelMsg::Data { data }) => {
                    self.received.extend_from_slice(&data);
                    return Ok(true);
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => return Ok(false),
                Some(_) => {}
            }
        }
    }

    /// What has been received and not taken.
    pub(crate) fn received(&self) -> &[u8] {
        &self.received
    }

    /// Takes the first `count` of it.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.received[..count].to_vec();
        self.received.advance(count);
        taken
    }
}
