//! A VM's life at any provider: the seam's contract on top of [`Provider`].
//!
//! ```text
//!   create:  journal written ─▶ found by tag? ─▶ key, firewall, VM made ─▶ id in the journal
//!                                    ▲                 │ lost answer: look for the tag, never make a second
//!                                    └─────────────────┘
//! ```
//!
//! Two things make that nothing is lost: the journal, a private file of the machine that says which
//! account the VM is in before there is a VM, and the machine's id, which everything in the account bears.
//! Whatever happens, `remove` finds all of it by the two.

mod journal;
mod states;

use crate::{
    http::{self, CloudError},
    provider::{Power, Provider, Reach, SHARED, Tags, Vm},
    settings::Settings,
};
use async_trait::async_trait;
use journal::Journal;
use machine_drivers::{
    Access, Capabilities, Driver, DriverError, DriverOptions, EngineHome, Instance, InstanceState, Leftover,
    MachineSpec, OptionSpec, Progress, SshEndpoint, SshKeys,
};
use states::States;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// From the order to a running VM with an address.
const START_LIMIT: Duration = Duration::from_secs(600);
/// Cutting the power, or removing.
const END_LIMIT: Duration = Duration::from_secs(300);
/// How long a VM whose making was not answered is looked for: listings lag behind.
const LOOK_LIMIT: Duration = Duration::from_secs(20);

/// The driver of a provider's VMs.
#[derive(Debug)]
pub(crate) struct VirtualMachines<P: Provider> {
    states: States<P>,
    /// Between two looks at something that is under way.
    poll: Duration,
}

impl<P: Provider> VirtualMachines<P> {
    /// Cheap; nothing is connected.
    pub(crate) fn new(poll: Duration) -> Self {
        Self { states: States::new(poll / 20), poll }
    }

    /// The account and the journal of an instance; [`DriverError::NotFound`] when all of it is gone.
    fn open(&self, instance: &Instance) -> Result<(P, Journal<P::Account>), DriverError> {
        let not_found = || DriverError::NotFound { id: instance.id.clone() };
        let journal = Journal::load(folder(instance)?)?.ok_or_else(not_found)?;
        Ok((connect(&journal.account)?, journal))
    }

    /// How long a provider may not see yet what it has made.
    fn blindness(&self) -> Duration {
        self.poll * 10
    }

    /// The VM; one that was made a moment ago is waited for.
    async fn vm(
        &self,
        provider: &P,
        instance: &Instance,
        journal: &Journal<P::Account>,
    ) -> Result<Vm, DriverError> {
        loop {
            if let Some(vm) = provider.get(&instance.id).await.map_err(failed::<P>)? {
                return Ok(vm);
            }
            if !journal.is_new(self.blindness()) || journal.vm.as_ref() != Some(&instance.id) {
                return Err(DriverError::NotFound { id: instance.id.clone() });
            }
            sleep(self.poll).await;
        }
    }

    /// `false` where there is no action to ask for.
    async fn is_under_way(&self, provider: &P, action: Option<&str>) -> Result<bool, DriverError> {
        match action {
            Some(action) => provider.is_under_way(action).await.map_err(failed::<P>),
            None => Ok(false),
        }
    }

    /// Looks until the VM is off. An error when `action`, which is to switch it off, fails, and
    /// [`DriverError::NotFound`] when the VM vanishes meanwhile.
    async fn wait_until_off(
        &self,
        (provider, journal): &(P, Journal<P::Account>),
        instance: &Instance,
        what: &str,
        limit: Duration,
        action: Option<&str>,
    ) -> Result<(), DriverError> {
        let deadline = Instant::now() + limit;
        loop {
            if is_off(&self.vm(provider, instance, journal).await?) {
                return Ok(());
            }
            self.is_under_way(provider, action).await?;
            if Instant::now() > deadline {
                return Err(DriverError::Timeout { what: what.to_owned(), limit });
            }
            sleep(self.poll).await;
        }
    }

    /// Makes the VM, once.
    async fn make(
        &self,
        provider: &P,
        order: &P::Order,
        tags: &Tags,
        journal: &Journal<P::Account>,
        progress: &dyn Progress,
    ) -> Result<String, CloudError> {
        let error = match provider.make(order, tags, &journal.nonce, progress).await {
            Ok(id) => return Ok(id),
            Err(error) if !error.is_ambiguous() => return Err(error),
            Err(error) => error,
        };
        progress.step("The answer was lost; looking whether there is a VM");
        let deadline = Instant::now() + LOOK_LIMIT.max(self.poll * 3);
        while Instant::now() < deadline {
            // What cannot be listed now may be a moment later.
            if let Ok(found) = provider.find(&tags.machine_id).await
                && let Some(vm) = found.first()
            {
                return Ok(vm.id.clone());
            }
            sleep(self.poll).await;
        }
        Err(error)
    }

    /// The VM of a `create` that was cut off before it heard of it. What was on its way to the provider then
    /// is waited for, and a moment longer until it is listed.
    async fn cut_off(&self, provider: &P, machine_id: &str) -> Result<Option<Vm>, DriverError> {
        let mut looks = if http::settled().await { 3 } else { 1 };
        loop {
            let found = first(provider.find(machine_id).await.map_err(failed::<P>)?);
            looks -= 1;
            if found.is_some() || looks == 0 {
                return Ok(found);
            }
            sleep(self.poll).await;
        }
    }

    /// Removes every VM of the machine and everything that belongs to it. `is_new`: the one that is `known`
    /// may not be seen yet.
    async fn remove_all(
        &self,
        provider: &P,
        (machine_id, owner): (&str, &str),
        known: Option<&str>,
        is_new: bool,
    ) -> Result<(), DriverError> {
        let begun = Instant::now();
        let mut unseen = is_new;
        let mut last: Option<CloudError> = None;
        loop {
            // A listing may not show yet what was made a moment ago; the id does not depend on it.
            let mut ids: BTreeSet<String> = known.map(str::to_owned).into_iter().collect();
            ids.extend(provider.find(machine_id).await.map_err(failed::<P>)?.into_iter().map(|vm| vm.id));
            let mut there = 0;
            for id in &ids {
                if provider.get(id).await.map_err(failed::<P>)?.is_some() {
                    there += 1;
                    if let Err(error) = provider.delete(id).await {
                        last = Some(error);
                    }
                }
            }
            unseen = unseen && there == 0 && begun.elapsed() < self.blindness();
            if there == 0 && !unseen {
                match self.discard_all(provider, machine_id, owner).await {
                    Ok(()) => return Ok(()),
                    // A firewall or an address is held until its VM is gone altogether.
                    Err(error) => last = Some(error),
                }
            }
            if begun.elapsed() > END_LIMIT {
                let slow = CloudError::Slow { what: "Removing the VM".to_owned(), limit: END_LIMIT };
                return Err(failed::<P>(last.unwrap_or(slow)));
            }
            sleep(self.poll).await;
        }
    }

    async fn discard_all(&self, provider: &P, machine_id: &str, owner: &str) -> Result<(), CloudError> {
        for belonging in provider.belongings().await? {
            if belonging.machine_id == machine_id {
                provider.discard(&belonging).await?;
            }
        }
        if owner.is_empty() { Ok(()) } else { provider.release(owner).await }
    }

    fn settings<'a>(&self, options: &'a DriverOptions) -> Settings<'a> {
        Settings::new(P::OPTIONS, options)
    }
}

#[async_trait]
impl<P: Provider> Driver for VirtualMachines<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { runs_when_created: true, ..Capabilities::default() }
    }

    fn options(&self) -> &'static [OptionSpec] {
        P::OPTIONS
    }

    async fn check(&self, spec: &MachineSpec) -> Result<Vec<String>, DriverError> {
        let settings = self.settings(&spec.options);
        crate::settings::check_sizes(spec, "choose a size by the driver's own options")?;
        let provider: P = connect(&P::account(&settings)?)?;
        Ok(provider.order(spec, &settings).await.map_err(failed::<P>)?.remarks)
    }

    async fn create(&self, spec: &MachineSpec, progress: &dyn Progress) -> Result<Instance, DriverError> {
        let settings = self.settings(&spec.options);
        crate::settings::check_sizes(spec, "choose a size by the driver's own options")?;
        let account = P::account(&settings)?;
        let provider: P = connect(&account)?;
        let tags =
            Tags { name: spec.name.clone(), machine_id: spec.machine_id.clone(), owner: spec.owner.clone() };
        let earlier = Journal::load(&spec.directory)?.filter(|journal| journal.machine_id == spec.machine_id);
        if let Some(journal) = &earlier
            && let Some(vm) = first(provider.find(&spec.machine_id).await.map_err(failed::<P>)?)
        {
            journal.clone().of_vm(&vm.id).save(&spec.directory)?;
            return Ok(instance(&spec.directory, &vm.id));
        }
        let plan = provider.order(spec, &settings).await.map_err(failed::<P>)?;
        let journal = match earlier {
            // With its nonce: what the cut-off attempt may still be about to make is then the same VM.
            Some(journal) => journal,
            None => Journal::new(spec, account, plan.reach)?,
        };
        journal.save(&spec.directory)?;
        self.states.forget();
        match self.make(&provider, &plan.order, &tags, &journal, progress).await {
            Ok(id) => {
                journal.of_vm(&id).save(&spec.directory)?;
                Ok(instance(&spec.directory, &id))
            }
            Err(error) => {
                let error = failed::<P>(error);
                match self.remove_all(&provider, (&spec.machine_id, &spec.owner), None, false).await {
                    Ok(()) => Journal::<P::Account>::remove(&spec.directory)?,
                    // The journal stays, and with it the way to remove the rest.
                    Err(cleanup) => {
                        tracing::warn!(%cleanup, "what was made before the failure is still there");
                    }
                }
                Err(error)
            }
        }
    }

    async fn recover(&self, directory: &Path, machine_id: &str) -> Result<Option<Instance>, DriverError> {
        let journal: Option<Journal<P::Account>> = Journal::load(directory)?;
        let Some(journal) = journal.filter(|journal| journal.machine_id == machine_id) else {
            return Ok(None);
        };
        let id = match journal.vm {
            Some(id) => id,
            None => {
                let provider: P = connect(&journal.account)?;
                let found = self.cut_off(&provider, machine_id).await?;
                // Even without a VM there may be a key to remove.
                found.map_or_else(|| format!("none-of-{machine_id}"), |vm| vm.id)
            }
        };
        Ok(Some(instance(directory, &id)))
    }

    async fn start(&self, instance: &Instance, progress: &dyn Progress) -> Result<(), DriverError> {
        let (provider, journal) = self.open(instance)?;
        self.states.forget();
        let deadline = Instant::now() + START_LIMIT;
        let mut told = false;
        let mut action: Option<String> = None;
        loop {
            let vm = self.vm(&provider, instance, &journal).await?;
            match vm.state {
                InstanceState::Running if journal.reach.address(&vm).is_some() => return Ok(()),
                InstanceState::Running | InstanceState::Starting | InstanceState::Stopping => {}
                InstanceState::Stopped | InstanceState::Paused | InstanceState::Error => {
                    if !self.is_under_way(&provider, action.as_deref()).await? {
                        action = match provider.power(&instance.id, Power::On).await {
                            Ok(action) => action,
                            // Somebody else may have switched it on at the same moment.
                            Err(error) => match self.vm(&provider, instance, &journal).await?.state {
                                InstanceState::Running | InstanceState::Starting => None,
                                _ => return Err(failed::<P>(error)),
                            },
                        };
                    }
                }
            }
            if !std::mem::replace(&mut told, true) {
                progress.step("Waiting for the VM to run and to have an address");
            }
            if Instant::now() > deadline {
                return Err(DriverError::Timeout { what: "Starting the VM".to_owned(), limit: START_LIMIT });
            }
            sleep(self.poll).await;
        }
    }

    async fn stop(&self, instance: &Instance, grace: Duration) -> Result<(), DriverError> {
        let opened = self.open(instance)?;
        let (provider, journal) = &opened;
        self.states.forget();
        let vm = self.vm(provider, instance, journal).await?;
        if !is_off(&vm) {
            let mut action = None;
            if vm.state != InstanceState::Stopping {
                let asked = provider.power(&instance.id, Power::Shutdown).await;
                action = tolerate_off(provider, instance, asked).await?;
            }
            // A host needs longer than our guest, and a provider notices late.
            let limit = grace.max(Duration::from_secs(120));
            self.wait_until_off(&opened, instance, "Shutting down", limit, action.as_deref()).await?;
        }
        self.states.forget();
        Ok(())
    }

    async fn kill(&self, instance: &Instance) -> Result<(), DriverError> {
        let opened = self.open(instance)?;
        let (provider, journal) = &opened;
        self.states.forget();
        if !is_off(&self.vm(provider, instance, journal).await?) {
            let asked = provider.power(&instance.id, Power::Off).await;
            let action = tolerate_off(provider, instance, asked).await?;
            self.wait_until_off(&opened, instance, "Cutting the power", END_LIMIT, action.as_deref()).await?;
        }
        self.states.forget();
        Ok(())
    }

    async fn remove(&self, instance: &Instance) -> Result<(), DriverError> {
        let (provider, journal) = match self.open(instance) {
            Err(DriverError::NotFound { .. }) => return Ok(()),
            opened => opened?,
        };
        self.states.forget();
        let whose = (journal.machine_id.as_str(), journal.owner.as_str());
        let is_new = journal.is_new(self.blindness());
        self.remove_all(&provider, whose, journal.vm.as_deref(), is_new).await?;
        Journal::<P::Account>::remove(folder(instance)?)
    }

    async fn state(&self, instance: &Instance) -> Result<InstanceState, DriverError> {
        let (provider, journal) = self.open(instance)?;
        let listed = self.states.list(&provider, &journal.account).await;
        if let Some(vm) = listed.as_deref().ok().and_then(|all| all.iter().find(|vm| vm.id == instance.id)) {
            return Ok(vm.state);
        }
        // A listing may lag behind; only the VM itself tells that it is gone.
        Ok(self.vm(&provider, instance, &journal).await?.state)
    }

    async fn access(&self, instance: &Instance) -> Result<Access, DriverError> {
        let (provider, journal) = self.open(instance)?;
        let vm = self.vm(&provider, instance, &journal).await?;
        let not_running = || DriverError::NotRunning { id: instance.id.clone() };
        if vm.state != InstanceState::Running {
            return Err(not_running());
        }
        let address = journal.reach.address(&vm).ok_or_else(not_running)?.to_owned();
        let Reach { user, port, .. } = journal.reach;
        Ok(Access {
            ip: address.clone(),
            ssh: SshEndpoint { host: address, port, user },
            seed_socket: None,
            keys: SshKeys::default(),
            engine: EngineHome::Host,
        })
    }

    async fn console_tail(&self, instance: &Instance, _lines: usize) -> Result<Vec<String>, DriverError> {
        let (provider, journal) = self.open(instance)?;
        self.vm(&provider, instance, &journal).await.map(|_| Vec::new())
    }

    async fn reauthorize(&self, instance: &Instance, options: &DriverOptions) -> Result<(), DriverError> {
        let (_, journal) = self.open(instance)?;
        let account = P::renewed(&journal.account, P::account(&self.settings(options))?);
        let provider: P = connect(&account)?;
        // In another account the same number may be somebody else's VM, and this one would seem to be gone.
        let vm = provider.get(&instance.id).await.map_err(failed::<P>)?;
        if vm.is_none_or(|vm| vm.machine_id != journal.machine_id) {
            return Err(DriverError::InvalidSpec(format!(
                "These credentials are of an account at {} in which there is no such VM ({}); nothing was changed",
                P::TITLE,
                instance.id
            )));
        }
        self.states.forget();
        Journal { account, ..journal }.save(folder(instance)?)
    }

    async fn leftovers(
        &self,
        options: &DriverOptions,
        owner: &str,
        alive: &BTreeSet<String>,
        remove: bool,
    ) -> Result<Vec<Leftover>, DriverError> {
        let provider: P = connect(&P::account(&self.settings(options))?)?;
        let vms = provider.list().await.map_err(failed::<P>)?;
        let ours = |of: &str| of == owner;
        let mut left = Vec::new();
        let mut in_use = false;
        for vm in vms.into_iter().filter(|vm| ours(&vm.owner)) {
            if alive.contains(&vm.machine_id) {
                in_use = true;
                continue;
            }
            if remove {
                self.remove_all(&provider, (&vm.machine_id, owner), Some(&vm.id), false).await?;
            }
            left.push(Leftover { kind: "VM".to_owned(), id: vm.id, name: vm.name });
        }
        for belonging in provider.belongings().await.map_err(failed::<P>)? {
            let wanted = if belonging.machine_id == SHARED {
                in_use || !alive.is_empty()
            } else {
                alive.contains(&belonging.machine_id)
            };
            if wanted || !ours(&belonging.owner) {
                continue;
            }
            if remove {
                provider.discard(&belonging).await.map_err(failed::<P>)?;
            }
            left.push(Leftover { kind: belonging.kind.to_owned(), id: belonging.id, name: belonging.name });
        }
        Ok(left)
    }
}

fn connect<P: Provider>(account: &P::Account) -> Result<P, DriverError> {
    P::connect(account).map_err(failed::<P>)
}

fn failed<P: Provider>(error: CloudError) -> DriverError {
    error.into_driver_error(P::TITLE)
}

/// The machine's folder.
fn folder(instance: &Instance) -> Result<&Path, DriverError> {
    let folder = instance.data.get("directory").and_then(|folder| folder.as_str());
    folder.map(Path::new).ok_or_else(|| DriverError::NotFound { id: instance.id.clone() })
}

fn instance(directory: &Path, id: &str) -> Instance {
    let directory: PathBuf = directory.to_owned();
    Instance { id: id.to_owned(), data: serde_json::json!({ "directory": directory }) }
}

/// Of several, the one that was made first: every process then takes the same.
fn first(mut vms: Vec<Vm>) -> Option<Vm> {
    vms.sort_by(|a, b| (a.id.len(), &a.id).cmp(&(b.id.len(), &b.id)));
    vms.into_iter().next()
}

fn is_off(vm: &Vm) -> bool {
    vm.state == InstanceState::Stopped
}

/// A refusal to switch off what is off meanwhile is none.
async fn tolerate_off<P: Provider>(
    provider: &P,
    instance: &Instance,
    outcome: Result<Option<String>, CloudError>,
) -> Result<Option<String>, DriverError> {
    let error = match outcome {
        Ok(action) => return Ok(action),
        Err(error) => error,
    };
    match provider.get(&instance.id).await.map_err(failed::<P>)? {
        None => Err(DriverError::NotFound { id: instance.id.clone() }),
        Some(vm) if matches!(vm.state, InstanceState::Stopped | InstanceState::Stopping) => Ok(None),
        Some(_) => Err(failed::<P>(error)),
    }
}
