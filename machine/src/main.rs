//! The `machine` program: the process around [`machine::run`].

use machine::{World, config::Environment, drivers::Registry, env_vars, interrupts::Interrupts, ui::Ui};
use std::{ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    let environment = Environment::of_process();
    let ui = Ui::of_process(environment.get(env_vars::NO_COLOR).is_some());
    let drivers = Registry::built_in(environment.get(env_vars::PATH));
    let world = World { environment, drivers, guests: None, interrupts: Interrupts::Signals };
    let arguments: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(u8::try_from(machine::run(&arguments, &world, &ui)).unwrap_or(1))
}
