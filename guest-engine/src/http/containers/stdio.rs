//! A client's connection and a process's streams, joined until either ends.

use crate::http::{
    frames::Framing,
    hijack::{HijackedIo, discard},
};
use engine::{
    container::DetachKeys,
    ports::{StdinWriter, TaskStreams},
};
use futures_util::StreamExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;

const BLOCK: usize = 32 * 1024;

/// Why the two parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Parted {
    /// The process's output ended, or the client is gone.
    Ended,
    /// The client typed its detach keys.
    Detached,
}

/// Carries bytes both ways. The client's end of input becomes the process's; output goes on after it.
/// `keys` are looked for in what a terminal's client types.
pub(in crate::http) async fn join(
    io: HijackedIo,
    streams: TaskStreams,
    framing: Framing,
    keys: Option<DetachKeys>,
) -> Parted {
    let HijackedIo { reader, mut writer } = io;
    let mut output = streams.output;
    let (tell, mut detached) = oneshot::channel();
    let over = CancellationToken::new();
    let over_guard = over.clone().drop_guard();
    if let Some(stdin) = streams.stdin {
        tokio::spawn(async move {
            let mut reader = reader;
            tokio::select! {
                () = carry_input(&mut reader, stdin, keys, tell) => {}
                () = over.cancelled() => {}
            }
            discard(reader);
        });
    }
    let mut attentive = true;
    let parted = loop {
        tokio::select! {
            // What the process has said comes before the client's leaving.
            biased;
            frame = output.next() => match frame {
                Some(Ok(frame)) => {
                    if framing.write(&mut writer, &frame).await.is_err() {
                        break Parted::Ended;
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "Output of a process was cut off");
                    break Parted::Ended;
                }
                None => break Parted::Ended,
            },
            left = &mut detached, if attentive => match left {
                Ok(()) => break Parted::Detached,
                // Input just ended, which is no reason to leave.
                Err(_) => attentive = false,
            },
        }
    };
    drop(over_guard);
    // The client may be gone; then there is nobody left to tell.
    writer.shutdown().await.ok();
    parted
}

async fn carry_input(
    reader: &mut (dyn AsyncRead + Send + Unpin),
    mut stdin: StdinWriter,
    mut keys: Option<DetachKeys>,
    detached: oneshot::Sender<()>,
) {
    let mut block = vec![0; BLOCK];
    while let Ok(read @ 1..) = reader.read(&mut block).await {
        let typed = block.get(..read).unwrap_or_default();
        let (passed, leaving) = match &mut keys {
            Some(keys) => keys.filter(typed),
            None => (typed.to_vec(), false),
        };
        // A process that no longer reads does not stop its client from typing on.
        if stdin.write_all(&passed).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
        if leaving {
            detached.send(()).ok();
            return;
        }
    }
    stdin.shutdown().await.ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use engine::ports::{OutputFrame, StreamKind};
    use futures_util::stream;

    fn client() -> (tokio::io::DuplexStream, HijackedIo) {
        let (near, far) = tokio::io::duplex(1024);
        let (reader, writer) = tokio::io::split(far);
        (near, HijackedIo { reader: Box::new(reader), writer: Box::new(writer) })
    }

    #[tokio::test]
    async fn output_goes_on_after_input_ends() {
        let (mut near, io) = client();
        let (stdin, mut process) = tokio::io::duplex(64);
        let say = |text: String| Ok(OutputFrame { stream: StreamKind::Stdout, data: Bytes::from(text) });
        let echo = stream::once(async move {
            let mut text = String::new();
            process.read_to_string(&mut text).await?;
            say(text)
        });
        // Several pieces after the end of input, with a pause before each.
        let more = stream::iter([" and", " more"]).then(move |text| async move {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            say(text.to_owned())
        });
        let streams = TaskStreams { output: echo.chain(more).boxed(), stdin: Some(Box::new(stdin)) };
        let joined = tokio::spawn(join(io, streams, Framing::Raw, None));
        near.write_all(b"hello").await.unwrap();
        near.shutdown().await.unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).await.unwrap();
        assert_eq!((answer.as_str(), joined.await.unwrap()), ("hello and more", Parted::Ended));
    }

    #[tokio::test]
    async fn detach_keys_part_without_ending_the_process() {
        let (mut near, io) = client();
        let (stdin, mut process) = tokio::io::duplex(64);
        let streams = TaskStreams { output: stream::pending().boxed(), stdin: Some(Box::new(stdin)) };
        let joined = tokio::spawn(join(io, streams, Framing::Raw, Some(DetachKeys::default())));
        near.write_all(b"ls\x10\x11").await.unwrap();
        assert_eq!(joined.await.unwrap(), Parted::Detached);
        let mut seen = [0; 2];
        process.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"ls");
    }

    #[tokio::test]
    async fn a_client_that_still_sends_reads_all_output() {
        let (near, far) = tokio::net::UnixStream::pair().unwrap();
        let (reader, writer) = far.into_split();
        let io = HijackedIo { reader: Box::new(reader), writer: Box::new(writer) };
        let (stdin, process) = tokio::io::duplex(64);
        drop(process);
        let said = OutputFrame { stream: StreamKind::Stdout, data: Bytes::from("last words") };
        let output = stream::once(async { Ok(said) }).boxed();
        let (mut near_reader, mut near_writer) = near.into_split();
        near_writer.write_all(&[b'y'; 50_000]).await.unwrap();
        join(io, TaskStreams { output, stdin: Some(Box::new(stdin)) }, Framing::Raw, None).await;
        near_writer.write_all(&[b'y'; 50_000]).await.unwrap();
        let mut heard = String::new();
        near_reader.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "last words");
    }
}
