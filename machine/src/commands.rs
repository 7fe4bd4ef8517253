//! The commands, one file each: from arguments to a call of the lifecycle, and from its answer to
//! words. Nothing is decided here.

mod active;
mod completion;
mod config;
mod create;
mod driver;
mod env;
mod gc;
mod inspect;
mod keeper;
mod logs;
mod ls;
mod mount;
mod power;
mod provision;
mod reach;
mod regenerate_certs;
mod rm;
mod scp;
mod set;
mod ssh;
mod status;
mod transfer;
mod upgrade;
mod use_context;
mod version;

use crate::{
    autostart::{Autostart, AutostartError},
    cli::Command,
    config::Environment,
    docker_context::DockerContexts,
    drivers::Registry,
    error::{CommandError, ErrorKind},
    interrupts::Interrupts,
    lifecycle::{Guests, Lifecycle, Power},
    machine::{DEFAULT_NAME, MachineName},
    options::Parsed,
    store::Store,
    ui::Ui,
};
use futures_util::future::join_all;
use std::{borrow::Borrow, ffi::OsString};

/// What commands work with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) drivers: &'a Registry,
    pub(crate) guests: &'a dyn Guests,
    pub(crate) store: &'a Store,
    pub(crate) ui: &'a Ui,
    pub(crate) contexts: Option<&'a DockerContexts>,
    pub(crate) interrupts: &'a Interrupts,
    /// The command line as typed.
    pub(crate) invocation: &'a [OsString],
}

/// Runs a command.
pub(crate) async fn run(context: &Context<'_>, parsed: Parsed) -> Result<(), CommandError> {
    match parsed.cli.command {
        Command::Active(_) => active::run(context),
        Command::Completion(arguments) => completion::run(context, &arguments),
        Command::Config(arguments) => config::run(context, &arguments).await,
        Command::Create(arguments) => {
            create::run(context, *arguments, parsed.cli.tls, parsed.driver_options).await
        }
        Command::Driver(command) => driver::run(context, &command).await,
        Command::Env(arguments) => env::run(context, &arguments).await,
        Command::Gc(arguments) => gc::run(context, &arguments, parsed.driver_options).await,
        Command::Export(arguments) => transfer::export(context, &arguments).await,
        Command::Import(arguments) => transfer::import(context, &arguments).await,
        Command::Inspect(arguments) => inspect::run(context, &arguments),
        Command::Ip(arguments) => reach::ip(context, &arguments).await,
        Command::Keeper(arguments) => keeper::run(context, &arguments).await,
        Command::Kill(arguments) => power::run(context, &arguments, Power::Kill).await,
        Command::Logs(arguments) => logs::run(context, &arguments).await,
        Command::Ls(arguments) => ls::run(context, &arguments).await,
        Command::Man(arguments) => completion::man(context, &arguments),
        Command::Mount(arguments) => mount::run(context, &arguments).await,
        Command::Provision(arguments) => provision::run(context, &arguments).await,
        Command::RegenerateCerts(arguments) => regenerate_certs::run(context, &arguments).await,
        Command::Restart(arguments) => power::run(context, &arguments, Power::Restart).await,
        Command::Rm(arguments) => rm::run(context, &arguments).await,
        Command::Scp(arguments) => scp::run(context, &arguments).await,
        Command::Set(arguments) => set::run(context, &arguments).await,
        Command::Ssh(arguments) => ssh::run(context, arguments).await,
        Command::Start(arguments) => power::run(context, &arguments, Power::Start).await,
        Command::Status(arguments) => status::run(context, &arguments).await,
        Command::Stop(arguments) => power::run(context, &arguments, Power::Stop).await,
        Command::Upgrade(arguments) => upgrade::run(context, &arguments).await,
        Command::Url(arguments) => reach::url(context, &arguments).await,
        Command::Use(arguments) => use_context::run(context, &arguments).await,
        Command::Version(arguments) => version::run(context, &arguments).await,
    }
}

impl<'a> Context<'a> {
    fn lifecycle(&self) -> Lifecycle<'a> {
        Lifecycle {
            store: self.store,
            drivers: self.drivers,
            guests: self.guests,
            contexts: self.contexts,
            ui: self.ui,
        }
    }

    /// The machine that was named, or the one called `default`.
    fn name(&self, given: Option<&str>) -> Result<MachineName, CommandError> {
        match given {
            Some(name) => Ok(name.parse()?),
            None => self.default_name(),
        }
    }

    /// The machines that were named, each once, or the one called `default`.
    fn names(&self, given: &[String]) -> Result<Vec<MachineName>, CommandError> {
        if given.is_empty() {
            return Ok(vec![self.default_name()?]);
        }
        let mut names: Vec<MachineName> = Vec::with_capacity(given.len());
        for name in given {
            let name = name.parse()?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Has a machine started with this computer, or no longer.
    fn set_autostart(&self, name: &MachineName, enabled: bool) -> Result<(), CommandError> {
        let failed = |error: AutostartError| {
            CommandError::caused(format!("Could not set the autostart of machine \"{name}\""), &error)
        };
        let autostart = Autostart::of(self.environment, self.store.root()).map_err(failed)?;
        if enabled {
            autostart.enable(name).map_err(failed)?;
            self.ui.status(&format!(
                "Machine \"{name}\" starts when you log in; for every boot, once: loginctl enable-linger"
            ));
        } else {
            autostart.disable(name).map_err(failed)?;
        }
        autostart.reload();
        Ok(())
    }

    /// Asks; `hint` says how to answer where nobody is there to.
    fn confirmed(&self, question: &str, hint: &str) -> Result<bool, CommandError> {
        let nobody = || {
            CommandError::new(ErrorKind::Failed, "Nobody is there to say that it may be done").hinted(hint)
        };
        self.ui.confirm(question).map_err(|_| nobody())?.ok_or_else(nobody)
    }

    /// Refuses what docker-machine's Swarm options ask for.
    fn no_swarm(&self, asked_for: bool) -> Result<(), CommandError> {
        if !asked_for {
            return Ok(());
        }
        let message = "There is no Swarm as docker-machine set it up: its swarm image is long gone";
        Err(CommandError::new(ErrorKind::Failed, message))
    }

    fn default_name(&self) -> Result<MachineName, CommandError> {
        let name: MachineName = DEFAULT_NAME.parse()?;
        if self.store.folder(&name).exists() {
            return Ok(name);
        }
        Err(CommandError::new(
            ErrorKind::Failed,
            "No machine name specified, and there is no machine \"default\"",
        )
        .hinted("\"machine ls\" lists machines"))
    }

    /// Does `work` for all machines at once. One machine's failure stops no other; all are told.
    async fn each<'n, N, W, F>(&self, names: &'n [N], work: W) -> Result<(), CommandError>
    where
        N: Borrow<MachineName>,
        W: Fn(&'n MachineName) -> F,
        F: Future<Output = Result<(), CommandError>>,
    {
        let mut failures: Vec<CommandError> = join_all(names.iter().map(|name| work(name.borrow())))
            .await
            .into_iter()
            .filter_map(Result::err)
            .collect();
        let Some(last) = failures.pop() else { return Ok(()) };
        for failure in &failures {
            self.ui.error(failure);
        }
        Err(last)
    }
}
