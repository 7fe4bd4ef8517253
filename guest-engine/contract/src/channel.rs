//! The seed channel: JSON, one message a line, over the virtio-serial port
//! [`crate::paths::SEED_PORT`].
//!
//! The host (its keeper) speaks first and at once: QEMU holds the bytes until the guest opens the
//! port, so a booting guest reads its seed without a round trip. After every [`HostMessage`] and at
//! every change of phase the guest answers with its current [`Phase`].
//!
//! ```text
//!   guest:  booting ── waiting ──seed──▶ seeded ─▶ network ─▶ disk ─▶ services ─▶ ready
//!                                              └──────────┴────────┴─────────┴──▶ failed
//! ```

use crate::seed::Seed;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the keeper tells the guest.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum HostMessage {
    /// Who you are. Sending it again to a guest seeded with the same `machine_id` changes nothing
    /// but the clock; a new keeper therefore starts with it as well.
    Seed(Box<Seed>),
    /// The wall clock, nanoseconds since the Unix epoch (after the host slept).
    Time { unix_nanos: u64 },
}

/// What the guest tells the keeper.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum GuestMessage {
    /// Where the guest is. [`Phase::Ready`]: the SSH port and the engine's `/_ping` answer.
    Phase { phase: Phase },
    /// The guest cannot go on: in which phase, and one sentence why. It stays up for `machine logs`.
    Failed { phase: Phase, message: String },
}

/// The guest's way from power-on to service, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Kernel up, modules loading.
    Booting,
    /// Warm and anonymous; the seed has not arrived.
    Waiting,
    /// Seed applied: hostname, clock, entropy, keys.
    Seeded,
    /// Address and routes are being configured (DHCP).
    Network,
    /// The data disk is being checked, grown and mounted.
    Disk,
    /// SSH server and engine are starting.
    Services,
    /// Everything answers.
    Ready,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Booting => "booting",
            Self::Waiting => "waiting for its seed",
            Self::Seeded => "seeded",
            Self::Network => "configuring the network",
            Self::Disk => "mounting the data disk",
            Self::Services => "starting the SSH server and the engine",
            Self::Ready => "ready",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_of_tagged_json() {
        let line = serde_json::to_string(&GuestMessage::Phase { phase: Phase::Waiting }).unwrap();
        assert_eq!(line, r#"{"type":"phase","phase":"waiting"}"#);
        let time: HostMessage = serde_json::from_str(r#"{"type":"time","unix_nanos":7}"#).unwrap();
        assert_eq!(time, HostMessage::Time { unix_nanos: 7 });
    }

    #[test]
    fn phases_are_ordered_as_a_guest_goes_through_them() {
        assert!(Phase::Booting < Phase::Waiting && Phase::Services < Phase::Ready);
    }
}
