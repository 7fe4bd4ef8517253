//! `machine ssh`: a shell or a command in a machine; ends with its exit code.

mod words;

use super::Context;
use crate::{
    cli::Ssh,
    error::{CommandError, ErrorKind},
    ssh,
};
use std::io::{IsTerminal, stdin};

pub(super) async fn run(context: &Context<'_>, arguments: Ssh) -> Result<(), CommandError> {
    let wanted = words::parse(arguments.command)?;
    let name = context.name(arguments.name.as_deref())?;
    let lifecycle = context.lifecycle();
    let whole = lifecycle.whole(&name)?;
    let access = lifecycle.access(&whole).await?;
    let failed = |error: ssh::SshError| {
        CommandError::caused(format!("Could not run SSH in machine \"{name}\""), &error)
    };
    // Dropped, and so ended, with the command.
    let _forwards = ssh::forward_ports(&access, &whole.folder, wanted.forwards).await.map_err(failed)?;
    if wanted.no_command {
        context.interrupts.listen().next().await;
        return Ok(());
    }
    let command = (!wanted.command.is_empty()).then_some(wanted.command);
    let tty = arguments.tty || wanted.tty.unwrap_or(command.is_none() && stdin().is_terminal());
    let code = ssh::run_command(&access, &whole.folder, command, tty).await.map_err(failed)?;
    if code == 0 { Ok(()) } else { Err(CommandError::new(ErrorKind::Remote(code), "")) }
}
