//! A stand-in for the engine's socket. The first line a client sends says how it is treated.

use std::path::Path;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

/// Serves until it is dropped.
#[derive(Debug)]
pub(crate) struct Engine(JoinHandle<()>);

impl Engine {
    pub(crate) fn start(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        Self(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        }))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(stream: UnixStream) {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    let mut line = String::new();
    if input.read_line(&mut line).await.unwrap_or(0) == 0 {
        return;
    }
    let result = match line.trim() {
        "GET /_ping HTTP/1.1" => output.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").await,
        // Writes for as long as anyone takes it.
        "flood" => loop {
            if let Err(error) = output.write_all(&[7; 64 * 1024]).await {
                break Err(error);
            }
        },
        // Reads to the end, then says how much there was.
        "count" => {
            let mut all = Vec::new();
            input.read_to_end(&mut all).await.unwrap();
            let sum: u64 = all.iter().map(|byte| u64::from(*byte)).sum();
            output.write_all(format!("{} {sum}", all.len()).as_bytes()).await
        }
        // Ends its output first, then reads on and answers nothing; the file tells what came.
        path if path.starts_with("save ") => {
            output.write_all(b"go on").await.unwrap();
            output.shutdown().await.unwrap();
            let mut all = Vec::new();
            input.read_to_end(&mut all).await.unwrap();
            std::fs::write(path.trim_start_matches("save "), all)
        }
        // Silent until the client has gone altogether; then the file appears.
        path if path.starts_with("wait ") => {
            output.writable().await.unwrap();
            let mut byte = [0];
            _ = input.read(&mut byte).await;
            while output.write_all(b"").await.is_ok() && !hung_up(&output) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            std::fs::write(path.trim_start_matches("wait "), "gone")
        }
        // Repeats the line.
        other => output.write_all(other.as_bytes()).await,
    };
    drop(result);
}

fn hung_up(output: &tokio::net::unix::OwnedWriteHalf) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stream: &UnixStream = output.as_ref();
    let mut watched = [PollFd::new(stream, PollFlags::OUT)];
    poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
    watched[0].revents().contains(PollFlags::HUP)
}
