//! The host side of `machine`: command line, store, lifecycle, SSH, tunnel and keeper.
//!
//! [`run`] is the whole program but for the process around it, so that tests drive it in-process with
//! the memory driver. Start reading at [`lifecycle`].
//!
//! ```text
//!   main ─▶ run ─▶ cli ─▶ commands ─▶ lifecycle ─▶ store, drivers, guests (keeper ─▶ tunnel ─▶ ssh)
//!                            └──▶ ui ◀──┘
//! ```

pub mod autostart;
pub mod certificates;
pub mod cli;
pub mod commands;
mod completion;
pub mod config;
pub mod copy;
pub mod docker_context;
pub mod drivers;
pub mod endpoint;
mod engine_api;
mod engine_settings;
pub mod env;
pub mod env_vars;
pub mod error;
pub mod file_error;
mod folder_choice;
pub mod folders;
pub mod guest_channel;
pub mod image;
mod inherited;
pub mod interrupts;
pub mod keeper;
pub mod lifecycle;
mod logging;
pub mod machine;
mod options;
pub mod provision;
pub mod ssh;
pub mod store;
pub mod template;
pub mod templates;
pub mod transfer;
pub mod tunnel;
pub mod ui;
mod virtualbox;

use crate::{
    cli::Command,
    commands::Context,
    config::Environment,
    docker_context::DockerContexts,
    drivers::Registry,
    error::{CommandError, ErrorKind},
    interrupts::Interrupts,
    keeper::SpawnOptions,
    lifecycle::{Guests, KeptGuests},
    provision::EngineBinary,
    store::Store,
    ui::Ui,
};
use std::{ffi::OsString, sync::Arc};
use tokio::runtime::{Builder, Runtime};

/// What the program finds around it.
#[derive(Debug)]
pub struct World {
    /// The process's surroundings.
    pub environment: Environment,
    /// The drivers.
    pub drivers: Registry,
    /// Who reaches guests; `None`: the machines' keepers.
    pub guests: Option<Arc<dyn Guests>>,
    /// Where interrupts come from.
    pub interrupts: Interrupts,
}

/// Runs one command; `arguments` begin with the program's name. Returns the exit code, everything has
/// been told.
pub fn run(arguments: &[OsString], world: &World, ui: &Ui) -> i32 {
    if let Some(answer) = completion::answer(arguments, world) {
        // A shell that asks has no use for a complaint.
        ui.data_raw(&String::from_utf8_lossy(&answer.unwrap_or_default()));
        return 0;
    }
    let arguments = &match templates::expand(arguments, &world.environment) {
        Ok(arguments) => arguments,
        Err(error) => return told(ui, &CommandError::caused("The template cannot be used", &error)),
    };
    let parsed = match options::parse(arguments, &world.drivers, &world.environment) {
        Ok(parsed) => parsed,
        Err(options::Unparsed::Told(text)) => {
            ui.data_raw(&text);
            return 0;
        }
        Err(options::Unparsed::Wrong(text)) => {
            ui.usage(&text);
            return CommandError::new(ErrorKind::Usage, "").exit_code();
        }
        Err(options::Unparsed::Error(error)) => return told(ui, &error),
    };
    if is_docker_machine(arguments) && parsed.cli.command.acts() {
        ui.talk_on_stdout();
    }
    match execute(arguments, parsed, world, ui) {
        Ok(()) => 0,
        Err(error) => told(ui, &error),
    }
}

/// Whether we were called by docker-machine's name, usually a link to us: its callers read what it does on
/// stdout, and connect to its engines over TLS.
pub(crate) fn is_docker_machine(arguments: &[OsString]) -> bool {
    let name = arguments.first().map(std::path::Path::new).and_then(std::path::Path::file_stem);
    name.is_some_and(|name| name == "docker-machine")
}

fn execute(
    arguments: &[OsString],
    parsed: options::Parsed,
    world: &World,
    ui: &Ui,
) -> Result<(), CommandError> {
    let keeper = matches!(parsed.cli.command, Command::Keeper(_));
    logging::begin(keeper, parsed.cli.debug, &world.environment);
    let root = world.environment.storage_path(parsed.cli.storage_path.clone())?;
    let store = Store::new(root.clone());
    let guests: Arc<dyn Guests> = match &world.guests {
        Some(guests) => Arc::clone(guests),
        None => {
            let spawn = SpawnOptions { executable: world.environment.executable.clone(), storage_path: root };
            let environment = &world.environment;
            let engine = EngineBinary::find(
                environment.get(env_vars::ENGINE),
                &environment.executable,
                &environment.working_folder,
            );
            Arc::new(KeptGuests { spawn, engine })
        }
    };
    let contexts = DockerContexts::of(&world.environment);
    let context = Context {
        environment: &world.environment,
        drivers: &world.drivers,
        guests: &*guests,
        store: &store,
        contexts: contexts.as_ref(),
        ui,
        interrupts: &world.interrupts,
        invocation: arguments,
    };
    let runtime = runtime(keeper)
        .map_err(|error| CommandError::caused("Could not start the program's threads", &error))?;
    let outcome = runtime.block_on(commands::run(&context, parsed));
    // A thread that waits for the terminal's next key must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// A command waits and talks; only the keeper has work for all processors.
fn runtime(keeper: bool) -> std::io::Result<Runtime> {
    let mut builder = if keeper { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.enable_all().build()
}

fn told(ui: &Ui, error: &CommandError) -> i32 {
    ui.error(error);
    error.exit_code()
}
