//! Warm SSH connections: a client should not wait for a handshake.

use crate::ssh::{Connection, Connector, SshError};
use std::{
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep, timeout},
};

/// Connections kept when clients give them back.
const KEPT: usize = 16;
/// Handshakes at the same time: below the ten at which a plain sshd begins to drop (`MaxStartups`).
const HANDSHAKES: usize = 6;
/// A connection is not reused beyond this age.
const OLD: Duration = Duration::from_secs(3600);
/// How often the idle ones are looked at.
const SWEEP: Duration = Duration::from_secs(10);
/// Pause before a handshake that nobody waits for, at most.
const LONGEST_BREATH: Duration = Duration::from_secs(2);
/// Retries of one client's connection end after this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Idle, authenticated connections to one machine. At most one channel is ever open on each.
#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    /// How many connections are made ahead.
    warm: usize,
    state: Mutex<State>,
    handshakes: Semaphore,
    wanted: Notify,
    more: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first.
    idle: Vec<Connection>,
    failing_since: Option<Instant>,
    /// How long the last handshake took.
    handshake: Duration,
}

impl Pool {
    pub(super) fn new(connector: Connector, warm: usize) -> Self {
        Self {
            connector,
            warm,
            state: Mutex::default(),
            handshakes: Semaphore::new(HANDSHAKES),
            wanted: Notify::new(),
            more: Notify::new(),
        }
    }

    /// A connection for one client: a warm one, else a new one.
    pub(super) async fn take(&self) -> Result<Connection, SshError> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            if let Some(connection) = self.pop() {
                self.wanted.notify_one();
                return Ok(connection);
            }
            match self.connect().await {
                Ok(connection) => {
                    self.wanted.notify_one();
                    return Ok(connection);
                }
                Err(error) if error.is_permanent() || started.elapsed() + pause > PATIENCE => {
                    return Err(error);
                }
                Err(_) => sleep(pause).await,
            }
            pause *= 2;
        }
    }

    /// Takes a connection whose last channel is closed on both sides.
    pub(super) fn give_back(&self, connection: Connection) {
        let mut state = self.state();
        if state.idle.len() < KEPT && usable(&connection) {
            state.idle.push(connection);
            self.more.notify_waiters();
        }
    }

    /// Waits until two clients would find a connection.
    pub(super) async fn spare(&self) {
        loop {
            let mut more = pin!(self.more.notified());
            // Before the look, or it might miss one.
            more.as_mut().enable();
            if self.state().idle.len() > 1 {
                return;
            }
            more.await;
        }
    }

    /// Keeps `warm` connections ready, for ever.
    pub(super) async fn keep_warm(&self) {
        let mut pause = Duration::from_millis(200);
        loop {
            let idle = {
                let mut state = self.state();
                state.idle.retain(usable);
                state.idle.len()
            };
            if idle >= self.warm {
                // Given back, died, or taken: look again when asked to, and now and then.
                _ = timeout(SWEEP, self.wanted.notified()).await;
                continue;
            }
            // Clients that have come meanwhile need such a server's time more.
            let breath = self.state().handshake * 2;
            sleep(breath.min(LONGEST_BREATH)).await;
            match self.connect().await {
                Ok(connection) => {
                    self.give_back(connection);
                    pause = Duration::from_millis(200);
                }
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "no warm connection");
                    sleep(pause).await;
                    pause = (pause * 2).min(SWEEP);
                }
            }
        }
    }

    /// How long connecting has failed, if the last attempt did and no idle connection lives.
    pub(super) fn unreachable_for(&self) -> Option<Duration> {
        let state = self.state();
        let since = state.failing_since?;
        (!state.idle.iter().any(Connection::is_alive)).then(|| since.elapsed())
    }

    /// The freshest one; the others age towards their removal.
    fn pop(&self) -> Option<Connection> {
        let mut state = self.state();
        state.idle.retain(usable);
        state.idle.pop()
    }

    async fn connect(&self) -> Result<Connection, SshError> {
        // Never closed, so the permit is always granted.
        let _permit = self.handshakes.acquire().await;
        let started = Instant::now();
        let result = self.connector.connect().await;
        let mut state = self.state();
        match &result {
            Ok(_) => (state.failing_since, state.handshake) = (None, started.elapsed()),
            Err(_) => _ = state.failing_since.get_or_insert_with(Instant::now),
        }
        drop(state);
        result
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Every change of the state is a single step: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn usable(connection: &Connection) -> bool {
    connection.is_alive() && connection.age() < OLD
}
