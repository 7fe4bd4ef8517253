//! A provider's VMs and what happens to them, in no provider's words.
//!
//! ```text
//!   make ─▶ Making ─▶ Running ◀── Starting ◀─┐
//!                       │ ▲                  │ on
//!          off, or the  │ └── (never by      │
//!          guest itself ▼      itself)       │
//!                    Stopping ─▶ Off ────────┘          remove (any time) ─▶ Deleting ─▶ gone
//! ```
//!
//! Time passes while it is looked at: an arrow takes [`Fleet::slow`] looks, and as long as the
//! hypervisor needs.

use super::hypervisor::{Hypervisor, Order};
use serde_json::Value;
use std::collections::BTreeMap;

/// Where a VM is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Making,
    Starting,
    Running,
    Stopping,
    Off,
    Deleting,
}

/// What is asked of a VM's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    On,
    Shutdown,
    Off,
}

/// How far something that was asked for is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    UnderWay,
    Done,
    Failed,
}

/// Why nothing was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Absent,
    Busy,
    /// It is so already.
    Already,
}

/// One VM.
#[derive(Debug)]
pub struct Server {
    /// What the provider shows besides.
    pub document: Value,
    pub address: String,
    pub phase: Phase,
    left: u32,
}

/// A change of a VM's power.
#[derive(Debug)]
struct Action {
    server: u64,
    to: Phase,
    fails: bool,
}

/// All VMs of an account.
#[derive(Debug)]
pub struct Fleet {
    hypervisor: Box<dyn Hypervisor>,
    servers: BTreeMap<u64, Server>,
    actions: Vec<Action>,
    /// Looks until what is under way arrives.
    pub slow: u32,
    /// So many of the next actions are begun and then fail.
    pub failing_actions: u32,
}

impl Fleet {
    pub fn on(hypervisor: Box<dyn Hypervisor>) -> Self {
        Self { hypervisor, servers: BTreeMap::new(), actions: Vec::new(), slow: 1, failing_actions: 0 }
    }

    pub fn len(&self) -> usize {
        self.servers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    pub fn ids(&self) -> Vec<u64> {
        self.servers.keys().copied().collect()
    }

    /// Without time passing.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.values()
    }

    pub fn make(&mut self, id: u64, order: &Order, document: Value) -> &Server {
        let address = self.hypervisor.make(id, order);
        let server = Server { document, address, phase: Phase::Making, left: self.slow };
        self.servers.entry(id).or_insert(server)
    }

    /// One VM, after a moment.
    pub fn look(&mut self, id: u64) -> Option<&Server> {
        let on = self.hypervisor.is_on(id);
        let server = self.servers.get_mut(&id)?;
        if server.left > 0 {
            server.left -= 1;
        } else if server.phase == Phase::Deleting {
            self.servers.remove(&id);
        } else {
            server.phase = match server.phase {
                Phase::Making | Phase::Starting => Phase::Running,
                Phase::Running | Phase::Stopping if !on => Phase::Off,
                phase => phase,
            };
        }
        self.servers.get(&id)
    }

    /// All VMs, after a moment.
    pub fn look_at_all(&mut self) -> Vec<(u64, &Server)> {
        for id in self.ids() {
            self.look(id);
        }
        self.servers.iter().map(|(id, server)| (*id, server)).collect()
    }

    /// Begins a change of power; its number, for [`Self::progress`].
    pub fn power(&mut self, id: u64, power: Power) -> Result<u64, Refusal> {
        let phase = self.look(id).ok_or(Refusal::Absent)?.phase;
        let to = match (power, phase) {
            (Power::On, Phase::Off) => Phase::Starting,
            (Power::Shutdown, Phase::Running) | (Power::Off, Phase::Running | Phase::Stopping) => {
                Phase::Stopping
            }
            (_, Phase::Running | Phase::Off) => return Err(Refusal::Already),
            _ => return Err(Refusal::Busy),
        };
        let fails = self.failing_actions > 0;
        self.failing_actions = self.failing_actions.saturating_sub(1);
        let arrives = if to == Phase::Starting { Phase::Running } else { Phase::Off };
        self.actions.push(Action { server: id, to: arrives, fails });
        if !fails {
            match power {
                Power::On => self.hypervisor.switch_on(id),
                Power::Shutdown => self.hypervisor.press(id),
                Power::Off => self.hypervisor.cut(id),
            }
            let slow = self.slow;
            let server = self.servers.get_mut(&id).ok_or(Refusal::Absent)?;
            (server.phase, server.left) = (to, slow);
        }
        Ok(self.actions.len() as u64)
    }

    /// How far a change of power is, after a moment.
    pub fn progress(&mut self, action: u64) -> Option<Progress> {
        let Action { server, to, fails } =
            *self.actions.get(usize::try_from(action).ok()?.checked_sub(1)?)?;
        let phase = self.look(server).map(|server| server.phase);
        Some(if fails {
            Progress::Failed
        } else if phase == Some(to) {
            Progress::Done
        } else {
            Progress::UnderWay
        })
    }

    /// Begins the end of a VM; `false` when there is none.
    pub fn remove(&mut self, id: u64) -> bool {
        let slow = self.slow;
        let Some(server) = self.servers.get_mut(&id) else { return false };
        self.hypervisor.remove(id);
        (server.phase, server.left) = (Phase::Deleting, slow);
        true
    }

    /// As when the provider's host breaks: the VM is off though nobody asked.
    pub fn crash(&mut self, id: u64) {
        self.hypervisor.cut(id);
    }
}
