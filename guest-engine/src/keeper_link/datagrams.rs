//! Datagrams to one published port, for every client of the keeper's: frames on one stream.

use guest_contract::ports::{FRAME_HEADER, frame_header, parse_frame_header};
use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

/// How long a client is remembered that is not answered.
const IDLE: Duration = Duration::from_secs(90);
/// How many clients are remembered; more are not heard.
const MOST_CLIENTS: usize = 1024;
/// Answers that wait for a slow keeper; more are lost, as datagrams may be.
const WAITING: usize = 256;

/// Carries until the stream ends.
pub(super) async fn carry(
    mut reader: impl AsyncReadExt + Unpin,
    mut writer: impl AsyncWriteExt + Unpin,
    to: SocketAddr,
) -> io::Result<()> {
    let (answers, mut waiting) = mpsc::channel::<Vec<u8>>(WAITING);
    let inward = async {
        let mut clients: HashMap<u32, Arc<UdpSocket>> = HashMap::new();
        let mut carried = JoinSet::new();
        loop {
            let mut header = [0; FRAME_HEADER];
            reader.read_exact(&mut header).await?;
            let (client, length) = parse_frame_header(header);
            let mut payload = vec![0; usize::from(length)];
            reader.read_exact(&mut payload).await?;
            while let Some(ended) = carried.try_join_next() {
                if let Ok(ended) = ended {
                    clients.remove(&ended);
                }
            }
            let socket = match clients.get(&client) {
                Some(socket) => socket.clone(),
                None if clients.len() >= MOST_CLIENTS => continue,
                None => {
                    let any: SocketAddr =
                        if to.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
                    let socket = Arc::new(UdpSocket::bind(any).await?);
                    socket.connect(to).await?;
                    carried.spawn(carry_back(client, socket.clone(), answers.clone()));
                    clients.insert(client, socket.clone());
                    socket
                }
            };
            // Waits for room only. `try_send` would lose the first of every client: a new socket
            // is writable from the reactor's next turn on. What the kernel refuses is lost, as
            // datagrams may be.
            drop(socket.send(&payload).await);
        }
    };
    let outward = async {
        while let Some(frame) = waiting.recv().await {
            writer.write_all(&frame).await?;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        ended = inward => ended,
        ended = outward => ended,
    }
}

async fn carry_back(client: u32, socket: Arc<UdpSocket>, answers: mpsc::Sender<Vec<u8>>) -> u32 {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    while let Ok(received) = timeout(IDLE, socket.recv(&mut buffer)).await {
        match received.map(|length| (u16::try_from(length), length)) {
            Ok((Ok(short), length)) => {
                let frame = [&frame_header(client, short)[..], &buffer[..length]].concat();
                drop(answers.try_send(frame));
            }
            // Nobody listens in the container now; it may come.
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_client_gets_its_own_answers() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = server.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            loop {
                let (length, client) = server.recv_from(&mut buffer).await.unwrap();
                server.send_to(&buffer[..length], client).await.unwrap();
            }
        });
        let (near, far) = tokio::io::duplex(4096);
        let (reader, writer) = tokio::io::split(far);
        let carried = tokio::spawn(carry(reader, writer, to));
        let (mut answers, mut questions) = tokio::io::split(near);
        for (client, word) in [(7, "seven"), (9, "nine")] {
            let length = u16::try_from(word.len()).unwrap();
            questions
                .write_all(&[&frame_header(client, length)[..], word.as_bytes()].concat())
                .await
                .unwrap();
            let mut header = [0; FRAME_HEADER];
            timeout(IDLE, answers.read_exact(&mut header)).await.unwrap().unwrap();
            assert_eq!(parse_frame_header(header), (client, length));
            let mut answer = vec![0; usize::from(length)];
            answers.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, word.as_bytes());
        }
        drop((answers, questions));
        assert!(carried.await.unwrap().is_err(), "ends with the keeper");
    }
}
