//! Shell completion: the shell's function asks us what may come next, so that machines are completed as well.

use crate::{World, options, store::Store};
use clap_complete::{
    CompletionCandidate,
    engine::ArgValueCandidates,
    env::{EnvCompleter, Shells},
};
use std::{ffi::OsString, io, path::Path};

/// Set by the shell's function, to the shell's name.
const VARIABLE: &str = "COMPLETE";

/// Answers a shell's function; `None` when it is not one that calls.
pub(crate) fn answer(arguments: &[OsString], world: &World) -> Option<io::Result<Vec<u8>>> {
    let shell = world.environment.get(VARIABLE)?;
    let shells = Shells::builtins();
    let completer = shells.completer(shell)?;
    let Some(at) = arguments.iter().position(|argument| argument == "--") else {
        return Some(register(completer, arguments));
    };
    let mut command = options::command(&world.drivers, None);
    let root = world.environment.storage_path(None).ok();
    command = command.mut_subcommands(move |command| {
        let root = root.clone();
        if command.get_name() == "create" {
            return command;
        }
        command.mut_args(move |argument| match (argument.get_id().as_str(), root.clone()) {
            ("name" | "names" | "source" | "target", Some(root)) => {
                argument.add(ArgValueCandidates::new(move || machines(&root)))
            }
            _ => argument,
        })
    });
    let mut answer = Vec::new();
    let words = arguments[at + 1..].to_vec();
    let folder = world.environment.working_folder.as_path();
    Some(completer.write_complete(&mut command, words, Some(folder), &mut answer).map(|()| answer))
}

/// The function for `shell`, to be sourced; `None` for a shell we cannot speak to.
pub(crate) fn script(shell: &str, arguments: &[OsString]) -> Option<io::Result<Vec<u8>>> {
    Shells::builtins().completer(shell).map(|completer| register(completer, arguments))
}

fn register(completer: &dyn EnvCompleter, arguments: &[OsString]) -> io::Result<Vec<u8>> {
    let called = arguments.first().map(Path::new).unwrap_or(Path::new("machine"));
    let name = called.file_name().unwrap_or("machine".as_ref()).to_string_lossy();
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, &name, &name, &called.to_string_lossy(), &mut script)?;
    Ok(script)
}

fn machines(root: &Path) -> Vec<CompletionCandidate> {
    let names = Store::new(root.to_owned()).list().unwrap_or_default();
    names.into_iter().map(|name| CompletionCandidate::new(String::from(name))).collect()
}
