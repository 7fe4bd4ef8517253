//! The calls to one process that are open, whoever writes and reads the messages: who waits for which answer,
//! until when, and what they are told when the process breaks the rules.
//!
//! A call that is dropped or too slow is cancelled where the protocol can say so, and stays owed: it must be
//! answered before the next call is made, so that the next call finds the machine as it was before or as it
//! is after.

use super::Child;
use crate::{DriverError, Progress};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError, mpsc::Sender},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

/// How many lines are kept for a call that hears them.
const UNHEARD: usize = 64;

/// How long a driver's process may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// To start and say who it is.
    pub hello: Duration,
    /// To look at a machine.
    pub look: Duration,
    /// To change something.
    pub act: Duration,
    /// To make a machine.
    pub create: Duration,
    /// To answer a call that was cancelled.
    pub settle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(10),
            look: Duration::from_secs(30),
            act: Duration::from_secs(600),
            create: Duration::from_secs(1800),
            settle: Duration::from_secs(5),
        }
    }
}

/// All calls to one process; `A` is an answer.
#[derive(Debug)]
pub struct Calls<A> {
    program: String,
    state: Mutex<State<A>>,
    /// How many calls are owed an answer that nobody waits for.
    owed: watch::Sender<usize>,
    /// What tells the process that a call's answer is not wanted any more.
    cancel: Option<fn(u64) -> Vec<u8>>,
}

#[derive(Debug)]
struct State<A> {
    /// Gone once it is over: then the process sees the end of its input.
    out: Option<Sender<Vec<u8>>>,
    child: Option<Child>,
    /// What was wrong, once something was: the end of a sentence about the program.
    broken: Option<String>,
    next: u64,
    waiting: BTreeMap<u64, mpsc::UnboundedSender<Event<A>>>,
    owed: BTreeSet<u64>,
    /// Which call hears what the program says besides, and what nobody has heard yet.
    hearer: Option<u64>,
    unheard: Vec<String>,
}

#[derive(Debug)]
enum Event<A> {
    Step(String),
    Answer(A),
}

/// An answer for which there is no call: the end of a sentence about the program.
pub type Unasked = String;

/// A call that is open.
#[derive(Debug)]
pub struct Call<'a, A> {
    id: u64,
    calls: &'a Calls<A>,
    events: mpsc::UnboundedReceiver<Event<A>>,
}

impl<A> Calls<A> {
    /// Calls to `program`, numbered from `first`. None can be made before [`Self::begin`].
    pub fn new(program: &Path, first: u64, cancel: Option<fn(u64) -> Vec<u8>>) -> Self {
        let program = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        let state = State {
            out: None,
            child: None,
            broken: None,
            next: first,
            waiting: BTreeMap::new(),
            owed: BTreeSet::new(),
            hearer: None,
            unheard: Vec::new(),
        };
        Self { program, state: Mutex::new(state), owed: watch::channel(0).0, cancel }
    }

    /// The process runs.
    pub fn adopt(&self, child: Child) {
        self.state().child = Some(child);
    }

    /// What is sent to `out` reaches it.
    pub fn begin(&self, out: Sender<Vec<u8>>) {
        let mut state = self.state();
        if state.broken.is_none() {
            state.out = Some(out);
        }
    }

    /// Whether it is over.
    pub fn is_broken(&self) -> bool {
        self.state().broken.is_some()
    }

    /// It is over: whoever waits is told, and the process ends at once. `why` is the end of a sentence about
    /// the program.
    pub fn fail(&self, why: &str) {
        let child = {
            let mut state = self.state();
            if state.broken.is_some() {
                return;
            }
            tracing::debug!(program = self.program, why, "a driver's program is given up");
            state.broken = Some(why.to_owned());
            state.out = None;
            state.waiting.clear();
            state.owed.clear();
            state.child.take()
        };
        self.owed.send_replace(0);
        if let Some(mut child) = child {
            child.kill();
        }
    }

    /// Nobody needs it any more: it ends in good order, which is waited for.
    pub fn end(&self) {
        let child = {
            let mut state = self.state();
            state.broken.get_or_insert_with(|| "is no longer needed".to_owned());
            state.out = None;
            state.child.take()
        };
        drop(child);
    }

    /// It has ended, or has nothing to say any more: how, for [`Self::fail`].
    pub fn epitaph(&self) -> String {
        let child = self.state().child.take();
        let Some(mut child) = child else { return "is no longer needed".to_owned() };
        let epitaph = child.epitaph();
        child.kill();
        epitaph
    }

    /// Waits until calls that were given up have been answered; `false` when they are not.
    pub async fn settled(&self, limit: Duration) -> bool {
        let mut owed = self.owed.subscribe();
        timeout(limit, owed.wait_for(|owed| *owed == 0)).await.is_ok()
    }

    /// Makes a call; `message` has its number.
    pub fn open(
        &self,
        method: &str,
        message: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<Call<'_, A>, DriverError> {
        let mut state = self.state();
        if let Some(why) = &state.broken {
            return Err(self.wrong(why));
        }
        let (tell, events) = mpsc::unbounded_channel();
        let id = state.next;
        state.next += 1;
        state.waiting.insert(id, tell);
        tracing::debug!(program = self.program, id, method, "calling a driver's program");
        state.send(message(id));
        Ok(Call { id, calls: self, events })
    }

    /// A message whose answer nobody waits for.
    pub fn tell(&self, message: impl FnOnce(u64) -> Vec<u8>) {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.owed.insert(id);
        state.send(message(id));
    }

    /// An answer has come.
    pub fn answer(&self, id: u64, answer: A) -> Result<(), Unasked> {
        let mut state = self.state();
        if let Some(waiting) = state.waiting.remove(&id) {
            // Its caller may just be going.
            _ = waiting.send(Event::Answer(answer));
            return Ok(());
        }
        if state.owed.remove(&id) {
            self.owed.send_replace(state.owed.len());
            return Ok(());
        }
        Err(match id < state.next {
            true => format!("answered call {id} twice"),
            false => format!("answered call {id}, which nobody has made"),
        })
    }

    /// A step of a call.
    pub fn step(&self, call: u64, text: &str) {
        if let Some(waiting) = self.state().waiting.get(&call) {
            // Its caller may just be going.
            _ = waiting.send(Event::Step(text.to_owned()));
        }
    }

    /// A step of which the program does not say whose it is; the next call that hears such has it.
    pub fn line(&self, text: &str) {
        let mut state = self.state();
        match state.hearer.and_then(|id| state.waiting.get(&id)) {
            Some(waiting) => _ = waiting.send(Event::Step(text.to_owned())),
            None if state.unheard.len() < UNHEARD => state.unheard.push(text.to_owned()),
            None => {}
        }
    }

    /// The program as sentences name it.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The program did something wrong.
    pub fn wrong(&self, why: &str) -> DriverError {
        DriverError::Provider { what: format!("The driver's program {} {why}", self.program) }
    }

    fn state(&self) -> MutexGuard<'_, State<A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> State<A> {
    fn send(&self, message: Vec<u8>) {
        if let Some(out) = &self.out {
            // The thread that writes ends with the process, and then the thread that reads tells.
            _ = out.send(message);
        }
    }
}

impl<A> Call<'_, A> {
    /// From now on it is this call that hears [`Calls::line`]s, those that nobody has heard first.
    pub fn hear_lines(&self) {
        let mut state = self.calls.state();
        state.hearer = Some(self.id);
        let unheard = std::mem::take(&mut state.unheard);
        if let Some(waiting) = state.waiting.get(&self.id) {
            unheard.into_iter().for_each(|line| _ = waiting.send(Event::Step(line)));
        }
    }

    /// Its answer, or what came instead of it within `limit`.
    pub async fn answered(
        &mut self,
        method: &str,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<A, DriverError> {
        let answer = async {
            loop {
                match self.events.recv().await {
                    Some(Event::Step(text)) => progress.step(&text),
                    Some(Event::Answer(answer)) => return Some(answer),
                    None => return None,
                }
            }
        };
        match timeout(limit, answer).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                let why = self.calls.state().broken.clone().unwrap_or_default();
                Err(self.calls.wrong(&format!("did not answer {method:?}: it {why}")))
            }
            Err(_) => {
                let what =
                    format!("Waiting for the driver's program {} to answer {method:?}", self.calls.program);
                Err(DriverError::Timeout { what, limit })
            }
        }
    }
}

impl<A> Drop for Call<'_, A> {
    fn drop(&mut self) {
        let mut state = self.calls.state();
        if state.waiting.remove(&self.id).is_none() {
            return;
        }
        state.owed.insert(self.id);
        if let Some(cancel) = self.calls.cancel {
            state.send(cancel(self.id));
        }
        self.calls.owed.send_replace(state.owed.len());
    }
}
