//! A VM monitor's seed socket with a guest behind it that says what the test wants.

use guest_contract::{GuestMessage, HostMessage, Phase};
use std::path::Path;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixListener,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// The guest's side of one keeper's connection.
#[derive(Debug)]
pub(crate) struct Guest {
    input: Lines<BufReader<OwnedReadHalf>>,
    output: OwnedWriteHalf,
}

impl Guest {
    pub(crate) fn listen(path: &Path) -> UnixListener {
        UnixListener::bind(path).unwrap()
    }

    pub(crate) async fn accept(listener: &UnixListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let (input, output) = stream.into_split();
        Self { input: BufReader::new(input).lines(), output }
    }

    pub(crate) async fn hear(&mut self) -> HostMessage {
        let line = self.input.next_line().await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) async fn say(&mut self, message: &GuestMessage) {
        let mut line = serde_json::to_vec(message).unwrap();
        line.push(b'\n');
        self.output.write_all(&line).await.unwrap();
    }

    pub(crate) async fn phase(&mut self, phase: Phase) {
        self.say(&GuestMessage::Phase { phase }).await;
    }
}
