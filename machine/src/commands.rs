//! The commands, one file each: from arguments to a call of the lifecycle, and from its answer to
//! words. Nothing is decided here.

mod active;
mod config;
mod create;
mod env;
mod gc;
mod inspect;
mod keeper;
mod logs;
mod ls;
mod power;
mod provision;
mod reach;
mod regenerate_certs;
mod rm;
mod ssh;
mod status;
mod upgrade;
mod version;

use crate::{
    cli::Command,
    config::Environment,
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
use std::ffi::OsString;

/// What commands work with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) drivers: &'a Registry,
    pub(crate) guests: &'a dyn Guests,
    pub(crate) store: &'a Store,
    pub(crate) ui: &'a Ui,
    pub(crate) interrupts: &'a Interrupts,
    /// The command line as typed.
    pub(crate) invocation: &'a [OsString],
}

/// Runs a command.
pub(crate) async fn run(context: &Context<'_>, parsed: Parsed) -> Result<(), CommandError> {
    match parsed.cli.command {
        Command::Active(_) => active::run(context),
        Command::Config(arguments) => config::run(context, &arguments).await,
        Command::Create(arguments) => {
            create::run(context, *arguments, parsed.cli.tls, parsed.driver_options).await
        }
        Command::Env(arguments) => env::run(context, &arguments).await,
        Command::Gc(arguments) => gc::run(context, &arguments, parsed.driver_options).await,
        Command::Inspect(arguments) => inspect::run(context, &arguments),
        Command::Ip(arguments) => reach::ip(context, &arguments).await,
        Command::Keeper(arguments) => keeper::run(context, &arguments).await,
        Command::Kill(arguments) => power::run(context, &arguments, Power::Kill).await,
        Command::Logs(arguments) => logs::run(context, &arguments).await,
        Command::Ls(arguments) => ls::run(context, &arguments).await,
        Command::Provision(arguments) => provision::run(context, &arguments).await,
        Command::RegenerateCerts(arguments) => regenerate_certs::run(context, &arguments).await,
        Command::Restart(arguments) => power::run(context, &arguments, Power::Restart).await,
        Command::Rm(arguments) => rm::run(context, &arguments).await,
        Command::Ssh(arguments) => ssh::run(context, arguments).await,
        Command::Start(arguments) => power::run(context, &arguments, Power::Start).await,
        Command::Status(arguments) => status::run(context, &arguments).await,
        Command::Stop(arguments) => power::run(context, &arguments, Power::Stop).await,
        Command::Upgrade(arguments) => upgrade::run(context, &arguments).await,
        Command::Url(arguments) => reach::url(context, &arguments).await,
        Command::Version(arguments) => version::run(context, &arguments).await,
    }
}

impl<'a> Context<'a> {
    fn lifecycle(&self) -> Lifecycle<'a> {
        Lifecycle { store: self.store, drivers: self.drivers, guests: self.guests, ui: self.ui }
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
    async fn each<'n, W, F>(&self, names: &'n [MachineName], work: W) -> Result<(), CommandError>
    where
        W: Fn(&'n MachineName) -> F,
        F: Future<Output = Result<(), CommandError>>,
    {
        let mut failures: Vec<CommandError> =
            join_all(names.iter().map(work)).await.into_iter().filter_map(Result::err).collect();
        let Some(last) = failures.pop() else { return Ok(()) };
        for failure in &failures {
            self.ui.error(failure);
        }
        Err(last)
    }
}
