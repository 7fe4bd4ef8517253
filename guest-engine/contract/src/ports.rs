//! Published ports on the user's own host: what engine and keeper say to each other about them.
//!
//! The keeper connects to [`crate::paths::KEEPER_SOCKET`] and says what it has come for, with one line of
//! JSON ([`Errand`]).
//!
//! - [`Errand::Ports`]: from then on the engine tells it, one [`PortNews`] a line, which ports are to be
//!   reachable. The first says all of them; every later [`PortNews::Open`] is answered with a [`PortAnswer`],
//!   and the container waits for it. Without a keeper the engine goes on.
//! - [`Errand::Datagrams`]: from then on both sides send frames, each a datagram: the client's number (four
//!   bytes), the length (two), the payload; numbers in network byte order. Streams need none of this: the
//!   keeper connects to them through SSH.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Longest line of this conversation: some ten thousand ports.
pub const LONGEST_LINE: usize = 1 << 20;
/// Bytes of a frame before its payload.
pub const FRAME_HEADER: usize = 6;

/// Why the keeper has connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "errand", rename_all = "kebab-case")]
pub enum Errand {
    Ports,
    /// To this address, as the guest sees it.
    Datagrams {
        to: SocketAddr,
    },
}

/// A port of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    pub protocol: PortProtocol,
    /// Where it is bound in the machine.
    pub address: SocketAddr,
}

/// What runs over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortProtocol {
    Tcp,
    Udp,
}

/// What the engine tells the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "news", rename_all = "kebab-case")]
pub enum PortNews {
    /// These and no others.
    All { ports: Vec<PublishedPort> },
    /// These as well; to be answered.
    Open { id: u64, ports: Vec<PublishedPort> },
    /// These no longer.
    Close { ports: Vec<PublishedPort> },
}

/// The keeper's answer to [`PortNews::Open`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortAnswer {
    pub id: u64,
    /// Why none of them is open, in a sentence for the user.
    pub refused: Option<String>,
}

/// The header of a frame.
pub fn frame_header(client: u32, length: u16) -> [u8; FRAME_HEADER] {
    let ([a, b, c, d], [e, f]) = (client.to_be_bytes(), length.to_be_bytes());
    [a, b, c, d, e, f]
}

/// Client and length that a header names.
pub fn parse_frame_header([a, b, c, d, e, f]: [u8; FRAME_HEADER]) -> (u32, u16) {
    (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_frames_come_back() {
        let port = PublishedPort { protocol: PortProtocol::Udp, address: "0.0.0.0:53".parse().unwrap() };
        let news = PortNews::Open { id: 7, ports: vec![port] };
        let line = serde_json::to_string(&news).unwrap();
        assert_eq!(line, r#"{"news":"open","id":7,"ports":[{"protocol":"udp","address":"0.0.0.0:53"}]}"#);
        assert_eq!(serde_json::from_str::<PortNews>(&line).unwrap(), news);
        assert_eq!(parse_frame_header(frame_header(70_000, 1500)), (70_000, 1500));
    }
}
