//! Drivers that are executables of their own: `machine-driver-NAME` on `PATH`, spoken to in JSON-RPC over
//! its standard input and output. `EXTERNAL.md` is the protocol as its authors read it.
//!
//! ```text
//!   ExternalDriver ──▶ Session ──▶ Calls ──▶ Child       one process for all calls of one command
//!     (a Driver)       (JSON-RPC)   numbers,   its group, its log,
//!                                   deadlines  its orderly end
//! ```
//!
//! A process that breaks the protocol is ended; its calls fail with one sentence that says what it did, and
//! the next call starts a fresh one.

mod blocking;
mod calls;
mod child;
mod described;
mod find;
mod serve;
mod session;
mod wire;

pub use blocking::block_on;
pub use calls::{Call, Calls, Limits, Unasked};
pub use child::{Child, Lines, readable};
pub use described::Described;
pub use find::{find, is_driver_name};
pub use serve::serve;

use crate::{
    Access, Capabilities, Driver, DriverError, DriverOptions, Instance, InstanceState, Leftover, MachineSpec,
    NewSizes, OptionSpec, Progress, Silent,
};
use async_trait::async_trait;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};
use session::Session;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

/// What the executable of the driver NAME is called, NAME following.
pub const PREFIX: &str = "machine-driver-";

/// A driver that is somebody else's program.
#[async_trait]
pub trait Program: Driver {
    /// Has it say who it is. What would be glad of an answer but can do without,
    /// [`Driver::capabilities`] and [`Driver::options`], is empty when this fails.
    async fn introduce(&self) -> Result<(), DriverError>;

    /// Ends its processes, in good order; the next call starts another one. For commands that go on for
    /// hours.
    fn rest(&self);
}

/// A driver in another process. Making one starts nothing.
#[derive(Debug)]
pub struct ExternalDriver {
    name: &'static str,
    program: PathBuf,
    limits: Limits,
    session: Mutex<Option<Arc<Session>>>,
    described: OnceLock<Described>,
}

impl ExternalDriver {
    /// The driver `name`, which `program` is.
    pub fn new(name: &str, program: PathBuf) -> Self {
        Self::with_limits(name, program, Limits::default())
    }

    /// The same with other deadlines.
    pub fn with_limits(name: &str, program: PathBuf, limits: Limits) -> Self {
        let (session, described) = (Mutex::new(None), OnceLock::new());
        Self { name: described::lasting(name.to_owned()), program, limits, session, described }
    }

    /// Asks the executable who it is and what it can do, unless it has said so already.
    pub async fn describe(&self) -> Result<&Described, DriverError> {
        if let Some(described) = self.described.get() {
            return Ok(described);
        }
        let described = self.session().hello(self.limits.hello).await?;
        Ok(self.described.get_or_init(|| described))
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process that runs, or a fresh one where there is none or it is broken.
    fn session(&self) -> Arc<Session> {
        let mut slot = self.slot();
        match &*slot {
            Some(session) if !session.is_broken() => Arc::clone(session),
            _ => Arc::clone(slot.insert(Arc::new(Session::start(self.name, &self.program)))),
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: Value,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<T, DriverError> {
        self.describe().await?;
        let mut session = self.session();
        if !session.settled(self.limits.settle).await {
            session.give_up("does not answer calls that were cancelled");
            session = self.session();
        }
        session.hello(self.limits.hello).await?;
        session.call(method, parameters, limit, progress).await
    }

    /// A call about one machine that a driver need not have.
    async fn optional<T: DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: Value,
        limit: Duration,
    ) -> Result<Option<T>, DriverError> {
        match self.call(method, parameters, limit, &Silent).await {
            Err(error) if wire::is_unknown_method(&error) => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    async fn act(
        &self,
        method: &'static str,
        instance: &Instance,
        progress: &dyn Progress,
    ) -> Result<(), DriverError> {
        let parameters = json!({ "instance": instance });
        self.call::<IgnoredAny>(method, parameters, self.limits.act, progress).await.map(drop)
    }
}

#[async_trait]
impl Program for ExternalDriver {
    async fn introduce(&self) -> Result<(), DriverError> {
        self.describe().await.map(drop)
    }

    fn rest(&self) {
        let session = self.slot().take();
        // Waits for its end, and nobody shall wait for that.
        drop(session);
    }
}

#[async_trait]
impl Driver for ExternalDriver {
    fn name(&self) -> &'static str {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        match self.described.get() {
            Some(described) => described.capabilities,
            None => block_on(self.describe()).map(|described| described.capabilities).unwrap_or_default(),
        }
    }

    fn options(&self) -> &'static [OptionSpec] {
        match self.described.get() {
            Some(described) => described.options,
            None => block_on(self.describe()).map(|described| described.options).unwrap_or_default(),
        }
    }

    async fn check(&self, spec: &MachineSpec) -> Result<Vec<String>, DriverError> {
        let remarks: wire::Remarks =
            self.call("check", json!({ "spec": spec }), self.limits.act, &Silent).await?;
        Ok(remarks.remarks.iter().map(|remark| readable(remark)).collect())
    }

    async fn create(&self, spec: &MachineSpec, progress: &dyn Progress) -> Result<Instance, DriverError> {
        let made: wire::Made =
            self.call("create", json!({ "spec": spec }), self.limits.create, progress).await?;
        Ok(made.instance)
    }

    async fn recover(&self, directory: &Path, machine_id: &str) -> Result<Option<Instance>, DriverError> {
        let parameters = json!({ "directory": directory, "machine_id": machine_id });
        let found: Option<wire::Found> = self.optional("recover", parameters, self.limits.act).await?;
        Ok(found.and_then(|found| found.instance))
    }

    async fn start(&self, instance: &Instance, progress: &dyn Progress) -> Result<(), DriverError> {
        self.act("start", instance, progress).await
    }

    async fn stop(&self, instance: &Instance, grace: Duration) -> Result<(), DriverError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let parameters = json!({ "instance": instance, "grace_ms": grace_ms });
        let limit = grace.saturating_add(self.limits.look);
        self.call::<IgnoredAny>("stop", parameters, limit, &Silent).await.map(drop)
    }

    async fn kill(&self, instance: &Instance) -> Result<(), DriverError> {
        self.act("kill", instance, &Silent).await
    }

    async fn remove(&self, instance: &Instance) -> Result<(), DriverError> {
        self.act("remove", instance, &Silent).await
    }

    async fn state(&self, instance: &Instance) -> Result<InstanceState, DriverError> {
        let parameters = json!({ "instance": instance });
        let state: wire::State = self.call("state", parameters, self.limits.look, &Silent).await?;
        Ok(state.state)
    }

    async fn access(&self, instance: &Instance) -> Result<Access, DriverError> {
        let parameters = json!({ "instance": instance });
        let access: wire::Reached = self.call("access", parameters, self.limits.look, &Silent).await?;
        Ok(access.access)
    }

    async fn console_tail(&self, instance: &Instance, lines: usize) -> Result<Vec<String>, DriverError> {
        let parameters = json!({ "instance": instance, "lines": lines });
        let console: Option<wire::Console> =
            self.optional("console_tail", parameters, self.limits.look).await?;
        Ok(console.map(|console| console.lines).unwrap_or_default())
    }

    async fn leftovers(
        &self,
        options: &DriverOptions,
        owner: &str,
        alive: &BTreeSet<String>,
        remove: bool,
    ) -> Result<Vec<Leftover>, DriverError> {
        let parameters = json!({ "options": options, "owner": owner, "alive": alive, "remove": remove });
        let left: Option<wire::Left> = self.optional("leftovers", parameters, self.limits.act).await?;
        Ok(left.map(|left| left.leftovers).unwrap_or_default())
    }

    async fn resize(&self, instance: &Instance, sizes: &NewSizes) -> Result<Instance, DriverError> {
        let parameters = json!({ "instance": instance, "sizes": sizes });
        let made: wire::Made = self.call("resize", parameters, self.limits.act, &Silent).await?;
        Ok(made.instance)
    }

    fn console_file(&self, instance: &Instance) -> Option<PathBuf> {
        let parameters = json!({ "instance": instance });
        let asked = self.optional::<wire::ConsoleFile>("console_file", parameters, self.limits.look);
        block_on(asked).ok().flatten().and_then(|console| console.path)
    }
}
