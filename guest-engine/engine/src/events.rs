//! What happened, in order, for `docker events` and for whoever in the engine needs to know.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};
use tokio::sync::broadcast;

/// How many past events `since` can reach (moby keeps as many).
const KEPT: usize = 256;

/// What kind of object an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    Container,
    Image,
    Network,
    Volume,
    Daemon,
    Builder,
}

impl EventType {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Daemon => "daemon",
            Self::Builder => "builder",
        }
    }
}

/// One thing that happened. Published only after it has been persisted.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: EventType,
    /// `create`, `start`, `die`, `exec_create: ls`, …
    pub action: String,
    /// The object's id.
    pub actor: String,
    /// Labels, `name`, `image`, `exitCode`, …
    pub attributes: BTreeMap<String, String>,
    pub time: SystemTime,
}

/// The engine's event log and its subscribers. A subscriber that falls behind by more than
/// [`KEPT`] events misses the oldest; nobody waits for it.
#[derive(Debug)]
pub struct Events {
    past: Mutex<VecDeque<Event>>,
    live: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self { past: Mutex::new(VecDeque::with_capacity(KEPT)), live: broadcast::Sender::new(KEPT) }
    }
}

impl Events {
    /// Records and announces `event`, stamped now.
    pub fn publish(
        &self,
        kind: EventType,
        action: impl Into<String>,
        actor: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let event =
            Event { kind, action: action.into(), actor: actor.into(), attributes, time: SystemTime::now() };
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() == KEPT {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Under the lock, so that `subscribe` sees every event exactly once. No receiver is no error.
        drop(self.live.send(event));
    }

    /// The kept past and everything from now on, without gap or overlap.
    pub fn subscribe(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        (past.iter().cloned().collect(), self.live.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_and_future_join_without_gap() {
        let events = Events::default();
        events.publish(EventType::Container, "create", "a", BTreeMap::new());
        let (past, mut live) = events.subscribe();
        events.publish(EventType::Container, "start", "a", BTreeMap::new());
        assert_eq!(past.len(), 1);
        assert_eq!(live.try_recv().unwrap().action, "start");
    }

    #[test]
    fn only_the_newest_are_kept() {
        let events = Events::default();
        for n in 0..KEPT + 3 {
            events.publish(EventType::Image, n.to_string(), "i", BTreeMap::new());
        }
        let (past, _) = events.subscribe();
        assert_eq!((past.len(), past[0].action.as_str()), (KEPT, "3"));
    }
}
