//! `machine scp`, also called `cp`: files between this computer and machines, and between machines.

use super::Context;
use crate::{
    cli::Scp,
    copy::{self, CopyOptions, Named, Place},
    error::CommandError,
    ssh::Files,
};
use std::sync::Arc;

pub(super) async fn run(context: &Context<'_>, arguments: &Scp) -> Result<(), CommandError> {
    let source = place(context, &arguments.source).await?;
    let target = place(context, &arguments.target).await?;
    let options = CopyOptions { recursive: arguments.recursive || arguments.delta, delta: arguments.delta };
    let step = (!arguments.quiet).then(|| context.ui.step("scp"));
    let on_file = |name: &str| {
        if let Some(step) = &step {
            step.phase(name);
        }
    };
    let copied = copy::copy(&source, &target, options, &on_file).await.map_err(|error| {
        let hint = matches!(error, copy::CopyError::Folder(_)).then_some("Copy folders with -r");
        let error = CommandError::caused(format!("Could not copy {source} to {target}"), &error);
        hint.into_iter().fold(error, CommandError::hinted)
    })?;
    drop(step);
    if arguments.delta && !arguments.quiet {
        context.ui.status(&format!("{} copied, {} the same already", copied.files, copied.same));
    }
    Ok(())
}

async fn place(context: &Context<'_>, word: &str) -> Result<Place, CommandError> {
    Ok(match Named::parse(word)? {
        Named::Local(path) => Place::Local(context.environment.working_folder.join(path)),
        Named::Machine(name, path) => {
            let lifecycle = context.lifecycle();
            let whole = lifecycle.whole(&name)?;
            let access = lifecycle.access(&whole).await?;
            let files = Files::open(&access, &whole.folder).await.map_err(|error| {
                CommandError::caused(format!("Could not reach the files of machine \"{name}\""), &error)
            })?;
            Place::Machine { name, files: Arc::new(files), path }
        }
    })
}
