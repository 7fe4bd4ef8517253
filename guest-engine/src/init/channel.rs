//! The seed channel: owns the port, answers the keeper, and hands the first seed to the boot.
//!
//! Only the guest's *current* status is worth sending. What could not be sent, because no keeper
//! listens, is replaced by the next status; a new keeper speaks first and is answered.

use super::session::{Action, Session};
use super::virtio_port::{Event, LineReader, Port, PortError};
use super::{clock, log, virtio_port};
use guest_contract::{GuestMessage, Phase, Seed, paths};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a message that could not be delivered is tried again, should no event come before.
const RETRY: Duration = Duration::from_millis(500);
/// Without anything to deliver the reader sleeps this long at a time.
const IDLE: Duration = Duration::from_secs(3600);

/// Tells the keeper (and the console) where the guest is. Cheap to clone, usable from any thread,
/// never blocks.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    session: Session,
    port: Option<Port>,
    undelivered: Option<GuestMessage>,
}

/// A seed and how old it may be.
#[derive(Debug)]
pub(super) struct Arrival {
    pub seed: Box<Seed>,
    /// The seed lay in the port when the guest opened it: it was sent at some time of the boot.
    pub waited_for_guest: bool,
}

impl Channel {
    pub(super) fn new() -> Self {
        let shared = Shared { session: Session::new(), port: None, undelivered: None };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Opens the port and starts answering. The first seed comes out of the receiver.
    pub(super) fn connect(&self, deadline: Instant) -> Result<Receiver<Arrival>, PortError> {
        let (port, lines) = virtio_port::open(paths::SEED_PORT, deadline)?;
        self.lock().port = Some(port);
        let (seeds, arrivals) = sync_channel(1);
        let channel = self.clone();
        super::thread("seed", move || channel.serve(lines, &seeds));
        Ok(arrivals)
    }

    /// Goes on to a phase and says so.
    pub(super) fn enter(&self, phase: Phase) {
        log::line(format_args!("{phase}"));
        let mut shared = self.lock();
        let message = shared.session.enter(phase);
        shared.send(message);
    }

    /// Gives up in a phase and says why. The guest stays up.
    pub(super) fn fail(&self, phase: Phase, message: String) {
        log::line(format_args!("Failed while {phase}: {message}"));
        let mut shared = self.lock();
        let message = shared.session.fail(phase, message);
        shared.send(message);
    }

    fn serve(&self, mut lines: LineReader, seeds: &SyncSender<Arrival>) {
        let opened = Instant::now();
        loop {
            let timeout = if self.lock().undelivered.is_some() { RETRY } else { IDLE };
            match lines.next(timeout) {
                Ok(Event::Line(line)) => {
                    let waited_for_guest = opened.elapsed() < Duration::from_millis(50);
                    self.receive(&line, waited_for_guest, seeds);
                }
                Ok(Event::Changed) => self.lock().resend(),
                Err(error) => {
                    log::line(format_args!("Could not read the seed channel: {error}"));
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }

    fn receive(&self, line: &str, waited_for_guest: bool, seeds: &SyncSender<Arrival>) {
        let (action, answer) = self.lock().session.receive(line);
        match action {
            Action::None => {}
            Action::SetClock(unix_nanos) => clock::correct(unix_nanos),
            // The boot takes one seed and the session hands out one: there is always room.
            Action::Apply(seed) => drop(seeds.try_send(Arrival { seed, waited_for_guest })),
        }
        let mut shared = self.lock();
        // The phase may have changed since; a refusal is about the message and stands.
        let answer = answer.unwrap_or_else(|| shared.session.status());
        shared.send(answer);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn send(&mut self, message: GuestMessage) {
        self.undelivered = Some(message);
        self.resend();
    }

    fn resend(&mut self) {
        let (Some(port), Some(message)) = (&self.port, &self.undelivered) else { return };
        let Ok(line) = serde_json::to_string(message) else { return };
        match port.try_send(&line) {
            Ok(false) => {}
            Ok(true) => self.undelivered = None,
            Err(error) => {
                log::line(format_args!("Could not write to the seed channel: {error}"));
                self.undelivered = None;
            }
        }
    }
}
