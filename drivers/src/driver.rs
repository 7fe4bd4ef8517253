//! The contract every driver fulfils. `conformance` checks it.

use crate::{
    Access, Capabilities, DriverError, DriverOptions, Instance, InstanceState, Leftover, MachineSpec,
    NewSizes, OptionSpec, Progress,
};
use async_trait::async_trait;
use std::{
    collections::BTreeSet,
    fmt::Debug,
    path::{Path, PathBuf},
    time::Duration,
};

/// Makes and drives virtual machines. All methods may be called concurrently for different machines;
/// `machine` holds the machine's lock around every method that changes something.
///
/// Dropping a future cancels it; the next call on the same machine must then find either the state
/// before or the state after.
#[async_trait]
pub trait Driver: Debug + Send + Sync {
    /// The name in `--driver NAME` and in the record.
    fn name(&self) -> &'static str;

    /// What this driver can do beyond the methods here.
    fn capabilities(&self) -> Capabilities;

    /// The driver's own `create` options; `machine create --help` lists them.
    fn options(&self) -> &'static [OptionSpec];

    /// Called before anything is made: is everything there that `create` and `start` need? Changes
    /// nothing. `Ok` carries sentences the user should read (for example that the VM will be slow).
    async fn check(&self, spec: &MachineSpec) -> Result<Vec<String>, DriverError>;

    /// Makes the instance, without starting it unless [`Capabilities::runs_when_created`]. When it fails, nothing is left behind. On an instance
    /// that exists already (a retried `create`) it changes nothing and returns it.
    async fn create(&self, spec: &MachineSpec, progress: &dyn Progress) -> Result<Instance, DriverError>;

    /// What a `create` that was cut off made of the machine: by its folder and id, without its options,
    /// which are forgotten. Called by `rm`. Drivers that keep all they make in the folder have nothing to
    /// find.
    async fn recover(&self, directory: &Path, machine_id: &str) -> Result<Option<Instance>, DriverError> {
        let _ = (directory, machine_id);
        Ok(None)
    }

    /// Starts the instance. Returns once boot has been initiated, not once the guest is reachable.
    /// Starting a running instance does nothing.
    async fn start(&self, instance: &Instance, progress: &dyn Progress) -> Result<(), DriverError>;

    /// Asks the guest to power off and returns once it has. After `grace` returns
    /// [`DriverError::Timeout`] and the guest runs on. Stopping a stopped instance does nothing.
    async fn stop(&self, instance: &Instance, grace: Duration) -> Result<(), DriverError>;

    /// Cuts the power. Killing a stopped instance does nothing.
    async fn kill(&self, instance: &Instance) -> Result<(), DriverError>;

    /// Removes the instance and all that `create` made, running or not. `Ok` when it is gone already.
    async fn remove(&self, instance: &Instance) -> Result<(), DriverError>;

    /// What the instance is doing now. [`DriverError::NotFound`] when it does not exist any more.
    async fn state(&self, instance: &Instance) -> Result<InstanceState, DriverError>;

    /// How to reach the guest. Known after `start`; [`DriverError::NotRunning`] otherwise.
    async fn access(&self, instance: &Instance) -> Result<Access, DriverError>;

    /// The last lines the guest printed on its console, newest last, for error messages and
    /// `machine logs`. Empty where there is no console.
    async fn console_tail(&self, instance: &Instance, lines: usize) -> Result<Vec<String>, DriverError>;

    /// What this driver made for the store `owner` in the account that `options` name, and that belongs to
    /// none of the machines `alive`. Removes it with `remove`; either way the answer lists it. Called by
    /// `machine gc`.
    async fn leftovers(
        &self,
        options: &DriverOptions,
        owner: &str,
        alive: &BTreeSet<String>,
        remove: bool,
    ) -> Result<Vec<Leftover>, DriverError> {
        let _ = (options, owner, alive, remove);
        Ok(Vec::new())
    }

    /// Changes the instance's sizes, running or not; they count from its next start. Returns the instance to
    /// remember instead of the one that was given. Called only where [`Capabilities::resize`] says so; asking
    /// twice is harmless.
    async fn resize(&self, _instance: &Instance, _sizes: &NewSizes) -> Result<Instance, DriverError> {
        Err(DriverError::InvalidSpec(format!("The {} driver cannot change sizes", self.name())))
    }

    /// Takes the credentials that `options` hold, instead of those that were given to `create`, for the account
    /// that the instance is in; only once they have shown the instance. Asking twice is harmless.
    async fn reauthorize(&self, _instance: &Instance, _options: &DriverOptions) -> Result<(), DriverError> {
        Err(DriverError::InvalidSpec(format!("The {} driver keeps no credentials", self.name())))
    }

    /// The instance to remember from now on: what the driver knows of it may have changed with its last start
    /// or stop. Called after these.
    async fn refreshed(&self, instance: &Instance) -> Result<Instance, DriverError> {
        Ok(instance.clone())
    }

    /// The file the guest's console is written to, for those who follow it. `None` where there is none.
    fn console_file(&self, _instance: &Instance) -> Option<PathBuf> {
        None
    }
}
