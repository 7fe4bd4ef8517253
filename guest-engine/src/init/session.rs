//! The guest's side of the seed channel as a state machine without I/O: which answer and which
//! action a line from the host leads to (`guest_contract::channel`).

use guest_contract::version::PROTOCOL;
use guest_contract::{GuestMessage, HostMessage, Phase, Seed};

/// What the channel's owner must do about a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing but answer.
    None,
    /// The first seed: become that machine.
    Apply(Box<Seed>),
    /// Set the clock, nanoseconds since the Unix epoch.
    SetClock(u64),
}

/// Where the guest is and who it is.
#[derive(Debug)]
pub(super) struct Session {
    machine_id: Option<String>,
    phase: Phase,
    failure: Option<String>,
}

impl Session {
    pub(super) fn new() -> Self {
        Self { machine_id: None, phase: Phase::Booting, failure: None }
    }

    /// The answer to a keeper that asks.
    pub(super) fn status(&self) -> GuestMessage {
        match &self.failure {
            Some(message) => GuestMessage::Failed { phase: self.phase, message: message.clone() },
            None => GuestMessage::Phase { phase: self.phase },
        }
    }

    /// Goes on to a phase; a guest that has failed stays where it failed.
    pub(super) fn enter(&mut self, phase: Phase) -> GuestMessage {
        if self.failure.is_none() {
            self.phase = phase;
        }
        self.status()
    }

    /// Gives up in `phase`. The first failure stands: later ones follow from it.
    pub(super) fn fail(&mut self, phase: Phase, message: String) -> GuestMessage {
        if self.failure.is_none() {
            self.phase = phase;
            self.failure = Some(message);
        }
        self.status()
    }

    /// Takes one line of the host. The answer is the current status, unless the message is refused:
    /// then it is the reason, and nothing changes. A wrong keeper cannot break a guest that runs.
    pub(super) fn receive(&mut self, line: &str) -> (Action, Option<GuestMessage>) {
        match serde_json::from_str::<HostMessage>(line) {
            Ok(HostMessage::Time { unix_nanos }) => (Action::SetClock(unix_nanos), None),
            Ok(HostMessage::Seed(seed)) => self.receive_seed(seed),
            // The parser's message could quote the line, and the line may hold a host key.
            Err(_) => (Action::None, self.refusal("The host sent a message that this guest cannot read")),
        }
    }

    fn receive_seed(&mut self, seed: Box<Seed>) -> (Action, Option<GuestMessage>) {
        if seed.protocol != PROTOCOL {
            let reason = format!(
                "The host speaks version {} of the seed protocol, this guest speaks version {PROTOCOL}",
                seed.protocol
            );
            return (Action::None, self.refusal(&reason));
        }
        match &self.machine_id {
            None => {
                self.machine_id = Some(seed.machine_id.clone());
                (Action::Apply(seed), None)
            }
            Some(id) if *id == seed.machine_id => (Action::SetClock(seed.time_unix_nanos), None),
            Some(_) => (Action::None, self.refusal("This guest has already been seeded as another machine")),
        }
    }

    fn refusal(&self, reason: &str) -> Option<GuestMessage> {
        Some(GuestMessage::Failed { phase: self.phase, message: reason.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_contract::seed::EngineSettings;

    fn seed(machine_id: &str, protocol: u32) -> String {
        let seed = Seed {
            folders: Vec::new(),
            protocol,
            machine_id: machine_id.to_owned(),
            hostname: "dev".to_owned(),
            host_key: "SECRET".to_owned(),
            authorized_keys: vec![],
            time_unix_nanos: 42,
            entropy: String::new(),
            engine: EngineSettings::default(),
        };
        serde_json::to_string(&HostMessage::Seed(Box::new(seed))).unwrap()
    }

    fn seeded() -> Session {
        let mut session = Session::new();
        session.enter(Phase::Waiting);
        assert!(matches!(session.receive(&seed("a", PROTOCOL)).0, Action::Apply(_)));
        session
    }

    #[test]
    fn the_first_seed_is_applied_and_the_same_again_only_sets_the_clock() {
        let mut session = seeded();
        session.enter(Phase::Ready);
        let (action, answer) = session.receive(&seed("a", PROTOCOL));
        assert_eq!(action, Action::SetClock(42));
        assert_eq!((answer, session.status()), (None, GuestMessage::Phase { phase: Phase::Ready }));
    }

    #[test]
    fn another_machine_is_refused_and_changes_nothing() {
        let mut session = seeded();
        session.enter(Phase::Ready);
        let (action, answer) = session.receive(&seed("b", PROTOCOL));
        assert_eq!(action, Action::None);
        assert!(matches!(answer, Some(GuestMessage::Failed { phase: Phase::Ready, .. })));
        assert_eq!(session.status(), GuestMessage::Phase { phase: Phase::Ready });
    }

    #[test]
    fn another_protocol_is_refused_and_a_right_seed_may_still_come() {
        let mut session = Session::new();
        session.enter(Phase::Waiting);
        let (action, answer) = session.receive(&seed("a", PROTOCOL + 1));
        assert_eq!(action, Action::None);
        assert!(matches!(answer, Some(GuestMessage::Failed { phase: Phase::Waiting, .. })));
        assert!(matches!(session.receive(&seed("a", PROTOCOL)).0, Action::Apply(_)));
    }

    #[test]
    fn unreadable_lines_are_answered_without_their_content() {
        let mut session = Session::new();
        let line = seed("a", PROTOCOL).replace("\"protocol\":1", "\"protocol\":\"SECRET\"");
        let (action, answer) = session.receive(&line);
        assert_eq!(action, Action::None);
        assert!(!format!("{answer:?}").contains("SECRET"));
    }

    #[test]
    fn the_first_failure_stands_and_is_what_a_new_keeper_hears() {
        let mut session = seeded();
        session.fail(Phase::Disk, "No data disk".to_owned());
        session.fail(Phase::Services, "The engine did not start".to_owned());
        session.enter(Phase::Ready);
        let expected = GuestMessage::Failed { phase: Phase::Disk, message: "No data disk".to_owned() };
        assert_eq!(session.receive(&seed("a", PROTOCOL)).1, None);
        assert_eq!(session.status(), expected);
    }

    #[test]
    fn time_sets_the_clock() {
        let mut session = Session::new();
        let (action, answer) = session.receive(r#"{"type":"time","unix_nanos":7}"#);
        assert_eq!((action, answer), (Action::SetClock(7), None));
    }
}
