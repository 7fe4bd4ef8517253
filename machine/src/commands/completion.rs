//! `machine completion`, and the hidden `machine man`: what packages install beside the program.

use super::Context;
use crate::{
    cli::{Completion, Man},
    completion,
    error::{CommandError, ErrorKind},
    options,
};
use std::fs;

pub(super) fn run(context: &Context<'_>, arguments: &Completion) -> Result<(), CommandError> {
    let script = completion::script(&arguments.shell, context.invocation).ok_or_else(|| {
        CommandError::new(ErrorKind::Usage, format!("There is no completion for {:?}", arguments.shell))
            .hinted("There is for bash, zsh, fish, powershell and elvish")
    })?;
    let script =
        script.map_err(|error| CommandError::caused("Could not write the completion script", &error))?;
    context.ui.data_raw(&String::from_utf8_lossy(&script));
    Ok(())
}

/// All pages into a folder, or the first one to stdout.
pub(super) fn man(context: &Context<'_>, arguments: &Man) -> Result<(), CommandError> {
    let command = options::command(context.drivers, None);
    let failed = |error: std::io::Error| CommandError::caused("Could not write the manual pages", &error);
    if let Some(folder) = &arguments.output {
        fs::create_dir_all(folder).map_err(failed)?;
        return clap_mangen::generate_to(command, folder).map_err(failed);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(failed)?;
    context.ui.data_raw(&String::from_utf8_lossy(&page));
    Ok(())
}
