//! What commands and the keeper say to each other: one request per connection, JSON, one message a line.

use guest_contract::Phase;
use serde::{Deserialize, Serialize};

/// The longest line either side accepts, in bytes.
pub(super) const LONGEST_LINE: usize = 64 * 1024;

/// What a command asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub(super) enum Request {
    /// The status, once.
    Status,
    /// The status now and at every change, until it is ready or failed.
    Watch,
    /// Remove the sockets and end. The VM goes on. Answered by the end of the connection.
    Stop,
}

/// How far the machine is, as its keeper sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum KeeperStatus {
    /// On its way up.
    Starting {
        /// Where the guest is.
        phase: Phase,
    },
    /// The API socket leads to an engine that answers.
    Ready,
    /// The guest cannot go on.
    Failed {
        /// Where it was.
        phase: Phase,
        /// Why, one sentence.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_tagged_json() {
        let failed = KeeperStatus::Failed { phase: Phase::Disk, message: "No space".to_owned() };
        let line = serde_json::to_string(&failed).unwrap();
        assert_eq!(line, r#"{"state":"failed","phase":"disk","message":"No space"}"#);
        assert_eq!(serde_json::from_str::<KeeperStatus>(&line).unwrap(), failed);
        assert_eq!(serde_json::to_string(&Request::Watch).unwrap(), r#"{"request":"watch"}"#);
    }
}
