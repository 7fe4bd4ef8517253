//! What is spoken over a shim's socket: a JSON line as request, JSON lines as replies.
//!
//! A connection carries one request. `wait` is answered at once with the pid and again when the process
//! has ended. After the reply to `attach` the connection carries 8-byte docker frames downstream and raw
//! stdin upstream, with half-close.

use engine::ports::ExitStatus;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest request line; nobody but the engine, as root, can connect.
pub(crate) const MAX_REQUEST: usize = 4096;

/// What the engine asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Let the created process `exec`.
    Start,
    /// Say the pid now and the end when it comes.
    Wait,
    Resize {
        width: u16,
        height: u16,
    },
    Signal {
        signal: i32,
    },
    Attach {
        stdin: bool,
        stdout: bool,
        stderr: bool,
    },
}

/// What the shim answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(crate) enum Reply {
    Done,
    /// The process is there. Also the line a shim prints once it has created it.
    Created {
        pid: u32,
    },
    /// It could not be done; the OCI runtime's own sentence.
    Failed {
        message: String,
    },
    /// It was not created because its log driver could not be opened.
    NotLogged {
        message: String,
    },
    Exited(ExitRecord),
    /// An accepted attachment.
    Attached {
        /// What the client sends will reach the process.
        stdin: bool,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExitRecord {
    pub code: i32,
    pub oom_killed: bool,
    pub finished_unix_nanos: u64,
}

impl ExitRecord {
    /// Now, with `code`.
    pub(crate) fn now(code: i32, oom_killed: bool) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { code, oom_killed, finished_unix_nanos: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) }
    }
}

impl From<ExitRecord> for ExitStatus {
    fn from(record: ExitRecord) -> Self {
        Self {
            code: record.code,
            oom_killed: record.oom_killed,
            finished_at: UNIX_EPOCH + Duration::from_nanos(record.finished_unix_nanos),
        }
    }
}

/// The message as a line.
pub(crate) fn line<T: Serialize>(message: &T) -> Vec<u8> {
    // These types have only string keys and no maps: serialising cannot fail.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_tagged_line() {
        assert_eq!(line(&Request::Start), b"{\"ask\":\"start\"}\n");
        let record = ExitRecord { code: 3, oom_killed: false, finished_unix_nanos: 7 };
        let text = line(&Reply::Exited(record));
        assert_eq!(text, b"{\"is\":\"exited\",\"code\":3,\"oom_killed\":false,\"finished_unix_nanos\":7}\n");
        assert_eq!(serde_json::from_slice::<Reply>(&text).unwrap(), Reply::Exited(record));
    }
}
