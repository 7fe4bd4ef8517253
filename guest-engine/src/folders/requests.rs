//! What the kernel has asked and nobody has answered yet. Pure: no device, no connection, no clock of its own.

use guest_contract::{
    folders::Lane,
    fuse::{RequestHeader, opcode},
};
use nix::errno::Errno;
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// How long requests wait for a keeper that is gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// And when it has been gone for that long already.
pub(super) const NO_PATIENCE: Duration = Duration::from_secs(1);
/// How long after a signal its process is kept waiting: an answer that is on its way should arrive, as a program
/// need not expect a file to be interrupted.
pub(super) const INTERRUPT: Duration = Duration::from_secs(1);
/// Messages without answers that are kept for a keeper; a number that is never given back costs it a few bytes.
const MOST_FORGETS: usize = 4096;

/// All requests of one mount.
#[derive(Debug)]
pub(super) struct Requests {
    waiting: BTreeMap<u64, Waiting>,
    unsent: [VecDeque<Unsent>; 2],
    /// Since when there is no keeper; `None` while there is one.
    down_since: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    message: std::sync::Arc<[u8]>,
    lane: Lane,
    twice_is_harmless: bool,
    since: Instant,
    sent: bool,
    interrupted: Option<Instant>,
}

#[derive(Debug)]
enum Unsent {
    Request(u64),
    Forget(std::sync::Arc<[u8]>),
}

/// A request that is answered without the keeper.
pub(super) type Failed = (u64, Errno);

impl Requests {
    pub(super) fn new(now: Instant) -> Self {
        Self { waiting: BTreeMap::new(), unsent: Default::default(), down_since: Some(now) }
    }

    /// Takes a message of the kernel; says which lane it waits for.
    pub(super) fn push(&mut self, header: &RequestHeader, message: &[u8], now: Instant) -> Lane {
        let message: std::sync::Arc<[u8]> = message.into();
        if matches!(header.opcode, opcode::FORGET | opcode::BATCH_FORGET) {
            let unsent = &mut self.unsent[slot(Lane::Quick)];
            if self.down_since.is_none() || unsent.len() < MOST_FORGETS {
                unsent.push_back(Unsent::Forget(message));
            }
            return Lane::Quick;
        }
        let lane = lane(header.opcode);
        let twice_is_harmless = twice_is_harmless(header.opcode, &message);
        self.unsent[slot(lane)].push_back(Unsent::Request(header.unique));
        let request =
            Waiting { message, lane, twice_is_harmless, since: now, sent: false, interrupted: None };
        self.waiting.insert(header.unique, request);
        lane
    }

    /// A process that waits for a request got a signal.
    pub(super) fn interrupt(&mut self, unique: u64, now: Instant) {
        if let Some(request) = self.waiting.get_mut(&unique) {
            request.interrupted.get_or_insert(now);
        }
    }

    pub(super) fn has_unsent(&self, lane: Lane) -> bool {
        !self.unsent[slot(lane)].is_empty()
    }

    /// The next message for a lane.
    pub(super) fn next(&mut self, lane: Lane) -> Option<std::sync::Arc<[u8]>> {
        loop {
            match self.unsent[slot(lane)].pop_front()? {
                Unsent::Forget(message) => return Some(message),
                Unsent::Request(unique) => {
                    // It may have been answered without the keeper.
                    if let Some(request) = self.waiting.get_mut(&unique) {
                        request.sent = true;
                        return Some(request.message.clone());
                    }
                }
            }
        }
    }

    /// Whether anybody still waits for this answer.
    pub(super) fn answered(&mut self, unique: u64) -> bool {
        self.waiting.remove(&unique).is_some()
    }

    pub(super) fn is_down(&self) -> bool {
        self.down_since.is_some()
    }

    /// A keeper is here.
    pub(super) fn up(&mut self) {
        self.down_since = None;
    }

    /// It is gone. What it has not answered is asked again of the next, or failed.
    pub(super) fn down(&mut self, now: Instant) -> Vec<Failed> {
        self.down_since.get_or_insert(now);
        let lost = |request: &&Waiting| request.sent && !request.twice_is_harmless;
        let failed: Vec<u64> =
            self.waiting.iter().filter(|(_, request)| lost(request)).map(|(unique, _)| *unique).collect();
        failed.iter().for_each(|unique| drop(self.waiting.remove(unique)));
        for (unique, request) in self.waiting.iter_mut().rev().filter(|(_, request)| request.sent) {
            request.sent = false;
            self.unsent[slot(request.lane)].push_front(Unsent::Request(*unique));
        }
        failed.into_iter().map(|unique| (unique, Errno::EIO)).collect()
    }

    /// Those that have waited long enough.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Failed> {
        let down_since = self.down_since;
        let fate = |request: &Waiting| {
            let for_keeper = down_since.map(|down| {
                let patience = if now - down > PATIENCE { NO_PATIENCE } else { PATIENCE };
                now - down.max(request.since) > patience
            });
            if request.interrupted.is_some_and(|since| now - since > INTERRUPT) {
                Some(Errno::EINTR)
            } else {
                for_keeper.unwrap_or(false).then_some(Errno::EIO)
            }
        };
        let expired: Vec<Failed> = self
            .waiting
            .iter()
            .filter_map(|(unique, request)| fate(request).map(|error| (*unique, error)))
            .collect();
        expired.iter().for_each(|(unique, _)| drop(self.waiting.remove(unique)));
        expired
    }

    /// Whether there is anything that could expire.
    pub(super) fn may_expire(&self) -> bool {
        match self.down_since {
            Some(_) => !self.waiting.is_empty(),
            None => self.waiting.values().any(|request| request.interrupted.is_some()),
        }
    }
}

pub(super) fn slot(lane: Lane) -> usize {
    match lane {
        Lane::Quick => 0,
        Lane::Bulk => 1,
    }
}

fn lane(asked: u32) -> Lane {
    match asked {
        opcode::READ | opcode::WRITE | opcode::FSYNC | opcode::COPY_FILE_RANGE | opcode::FALLOCATE => {
            Lane::Bulk
        }
        _ => Lane::Quick,
    }
}

/// Whether it may be asked again though it may have been done. The others say what a name was before, or add.
fn twice_is_harmless(asked: u32, message: &[u8]) -> bool {
    const APPEND: u8 = 0o2000_u32.to_le_bytes()[1];
    /// Of a write's flags, as it was opened.
    const FLAGS: usize = guest_contract::fuse::REQUEST_HEADER + 32;
    match asked {
        opcode::WRITE => message.get(FLAGS + 1).is_some_and(|byte| byte & APPEND == 0),
        opcode::SYMLINK
        | opcode::MKNOD
        | opcode::MKDIR
        | opcode::UNLINK
        | opcode::RMDIR
        | opcode::RENAME
        | opcode::RENAME2
        | opcode::LINK
        | opcode::CREATE
        | opcode::SETXATTR
        | opcode::REMOVEXATTR
        | opcode::FALLOCATE => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(requests: &mut Requests, opcode: u32, unique: u64, now: Instant) {
        let header = RequestHeader { length: 40, opcode, unique, node: 1 };
        requests.push(&header, &unique.to_le_bytes(), now);
    }

    fn sent(requests: &mut Requests, lane: Lane) -> Vec<u64> {
        std::iter::from_fn(|| requests.next(lane))
            .map(|message| u64::from_le_bytes(message[..8].try_into().unwrap()))
            .collect()
    }

    #[test]
    fn what_a_keeper_leaves_is_asked_again_or_failed() {
        let now = Instant::now();
        let mut requests = Requests::new(now);
        push(&mut requests, opcode::LOOKUP, 1, now);
        push(&mut requests, opcode::READ, 2, now);
        push(&mut requests, opcode::MKDIR, 3, now);
        push(&mut requests, opcode::GETATTR, 4, now);
        requests.up();
        assert_eq!(sent(&mut requests, Lane::Quick), [1, 3, 4]);
        assert_eq!(sent(&mut requests, Lane::Bulk), [2]);
        assert!(requests.answered(4) && !requests.answered(4));
        push(&mut requests, opcode::GETATTR, 5, now);
        assert_eq!(requests.down(now), [(3, Errno::EIO)]);
        assert_eq!(sent(&mut requests, Lane::Quick), [1, 5], "the older one first");
        assert_eq!(sent(&mut requests, Lane::Bulk), [2]);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let start = Instant::now();
        let mut requests = Requests::new(start);
        push(&mut requests, opcode::MKDIR, 1, start);
        assert!(requests.expired(start + PATIENCE).is_empty());
        let late = start + PATIENCE + Duration::from_millis(1);
        assert_eq!(requests.expired(late), [(1, Errno::EIO)]);
        assert!(!requests.may_expire());
        assert!(sent(&mut requests, Lane::Quick).is_empty(), "answered, so nobody asks");
        push(&mut requests, opcode::LOOKUP, 2, late);
        assert_eq!(requests.expired(late + NO_PATIENCE + Duration::from_millis(1)), [(2, Errno::EIO)]);
        // A keeper that has it may take its time, unless there was a signal.
        requests.up();
        push(&mut requests, opcode::LOOKUP, 3, late);
        assert!(requests.expired(late + PATIENCE * 2).is_empty());
        requests.interrupt(3, late);
        assert!(requests.may_expire());
        assert_eq!(requests.expired(late + PATIENCE), [(3, Errno::EINTR)]);
    }

    #[test]
    fn an_appended_line_is_not_appended_twice() {
        let mut message = vec![0; 80];
        assert!(twice_is_harmless(opcode::WRITE, &message));
        message[72..76].copy_from_slice(&0o2001_u32.to_le_bytes());
        assert!(!twice_is_harmless(opcode::WRITE, &message));
    }
}
