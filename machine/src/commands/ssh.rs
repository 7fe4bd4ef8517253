//! `machine ssh`: a shell or a command in a machine; ends with its exit code.

use super::Context;
use crate::{
    cli::Ssh,
    error::{CommandError, ErrorKind},
    ssh,
};
use std::io::{IsTerminal, stdin};

pub(super) async fn run(context: &Context<'_>, arguments: Ssh) -> Result<(), CommandError> {
    let name = context.name(arguments.name.as_deref())?;
    let lifecycle = context.lifecycle();
    let whole = lifecycle.whole(&name)?;
    let access = lifecycle.access(&whole).await?;
    let command = (!arguments.command.is_empty()).then_some(arguments.command);
    let tty = arguments.tty || (command.is_none() && stdin().is_terminal());
    let code = ssh::run_command(&access, &whole.folder, command, tty)
        .await
        .map_err(|error| CommandError::caused(format!("Could not run SSH in machine \"{name}\""), &error))?;
    if code == 0 { Ok(()) } else { Err(CommandError::new(ErrorKind::Remote(code), "")) }
}
