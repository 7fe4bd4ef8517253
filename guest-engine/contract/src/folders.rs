//! Folders of the user's own computer inside the machine: what the keeper and the guest say to each other.
//!
//! The guest mounts a FUSE file system for each folder of its seed and keeps it; the keeper has the files. It
//! connects to [`crate::paths::FOLDERS_SOCKET`] once for each [`Lane`] and introduces itself with one line of
//! JSON, a [`Hello`]; the guest's answer is one too, a [`Welcome`]. From then on each side sends the kernel's own
//! messages, whose first four bytes are their length ([`crate::fuse`]). Answers come in any order.
//!
//! A mount outlives its connections. Requests that a lost connection leaves unanswered are sent again where
//! doing them twice is harmless, so a keeper must know the node numbers that an earlier one has given for the
//! same [`Welcome::mount`].
//!
//! A broken link looks like a keeper that takes its time. So each lane of a keeper's has a [`PULSE`], and one that
//! misses it for [`SILENCE`] is gone.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An "error" of an answer to nothing, by which a keeper shows every [`PULSE_EVERY`] that it is there.
pub const PULSE: i32 = 1000;
pub const PULSE_EVERY: Duration = Duration::from_secs(5);
/// A keeper that has shown a pulse and nothing for this long since is gone.
pub const SILENCE: Duration = Duration::from_secs(20);

/// Longest line of an introduction.
pub const LONGEST_LINE: usize = 16 << 10;

/// A folder of the user's computer that the machine sees at the same path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedFolder {
    /// Absolute, without `.`, `..` and a slash at the end.
    pub path: String,
    /// Nothing in it can be changed from the machine.
    #[serde(default)]
    pub read_only: bool,
}

/// What is carried where: the few bytes of a lookup must not wait behind megabytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// Names and attributes.
    Quick,
    /// Contents of files.
    Bulk,
}

/// The keeper introduces a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`SharedFolder::path`].
    pub folder: String,
    /// The same for both lanes; a new session replaces the one before.
    pub session: u64,
    pub lane: Lane,
}

/// The guest's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Welcome {
    /// Which mount this is, drawn when it was mounted.
    Mount(String),
    /// Why there is none, in a sentence.
    Refused(String),
}
