//! A container's life as data.
//!
//! ```text
//!             start            pause
//!  created ─────────▶ running ◀─────▶ paused
//!     │                │  ▲ │            │
//!     │     exit, with │  │ │ exit       │ exit
//!     │     a policy   ▼  │ ▼            │
//!     │        restarting └─ exited ◀────┘
//!     │            │ stop     ▲ │
//!     │            └──────────┘ │ remove
//!     └────────── remove ───────┴─▶ removing ──▶ (gone)
//!                                      │  ▲
//!                              failure ▼  │ remove
//!                                     dead
//! ```

use super::health::Health;
use crate::error::{EngineError, Result};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Created,
    Running,
    Paused,
    /// Ended, and a restart policy will start it again.
    Restarting,
    Removing,
    Exited,
    /// A removal failed half-way; only another removal is possible.
    Dead,
}

impl Status {
    /// Every status, for filters and tests.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Running,
        Self::Paused,
        Self::Restarting,
        Self::Removing,
        Self::Exited,
        Self::Dead,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Docker's `State.Running`, which is also true while paused or between restarts.
    pub fn counts_as_running(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }

    /// Whether there is a process.
    pub fn has_process(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// The transition table.
    pub fn may_become(self, next: Self) -> bool {
        use Status::{Created, Dead, Exited, Paused, Removing, Restarting, Running};
        match self {
            Created | Exited => matches!(next, Running | Removing),
            Running => matches!(next, Paused | Restarting | Exited),
            Paused => matches!(next, Running | Restarting | Exited),
            Restarting => matches!(next, Running | Exited),
            Removing => next == Dead,
            Dead => next == Removing,
        }
    }
}

/// Status and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub status: Status,
    /// The first process as the engine sees it; 0 without one.
    pub pid: u32,
    /// Of the last run; 126 to 128 when it could not be started.
    pub exit_code: i32,
    /// Why the last start or removal failed.
    pub error: String,
    pub oom_killed: bool,
    pub started_at: Option<SystemTime>,
    pub finished_at: Option<SystemTime>,
    /// Of the last run, if it has a health check.
    #[serde(default)]
    pub health: Option<Health>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            status: Status::Created,
            pid: 0,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            started_at: None,
            finished_at: None,
            health: None,
        }
    }
}

impl State {
    /// Moves on, or says that it cannot: a bug of ours, never the user's.
    pub fn advance(&mut self, next: Status) -> Result<()> {
        if !self.status.may_become(next) {
            return Err(EngineError::system(format!(
                "Container cannot go from {} to {}",
                self.status.as_str(),
                next.as_str()
            )));
        }
        self.status = next;
        if !next.has_process() {
            self.pid = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_allows_exactly_what_the_picture_shows() {
        let allowed: Vec<String> = Status::ALL
            .iter()
            .flat_map(|from| Status::ALL.iter().map(move |to| (from, to)))
            .filter(|(from, to)| from.may_become(**to))
            .map(|(from, to)| format!("{} {}", from.as_str(), to.as_str()))
            .collect();
        assert_eq!(
            allowed,
            [
                "created running",
                "created removing",
                "running paused",
                "running restarting",
                "running exited",
                "paused running",
                "paused restarting",
                "paused exited",
                "restarting running",
                "restarting exited",
                "removing dead",
                "exited running",
                "exited removing",
                "dead removing",
            ]
        );
    }

    #[test]
    fn leaving_the_process_forgets_its_pid() {
        let mut state = State { status: Status::Running, pid: 7, ..State::default() };
        state.advance(Status::Paused).unwrap();
        assert_eq!(state.pid, 7);
        state.advance(Status::Exited).unwrap();
        assert_eq!(state.pid, 0);
        assert!(state.advance(Status::Paused).is_err());
    }
}
