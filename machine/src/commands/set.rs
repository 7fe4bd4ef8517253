//! `machine set`: what `create` decided, changed later.

use super::Context;
use crate::{
    cli::Set,
    error::{CommandError, ErrorKind},
    folder_choice, options,
};
use guest_contract::folders::SharedFolder;
use machine_drivers::NewSizes;

pub(super) async fn run(context: &Context<'_>, arguments: &Set) -> Result<(), CommandError> {
    let name = context.name(arguments.name.as_deref())?;
    let sizes = NewSizes { cpus: arguments.cpus, memory_mib: arguments.memory, disk_gib: arguments.disk };
    let folders = folders(context, arguments)?;
    let is_nothing = sizes == NewSizes::default() && arguments.autostart.is_none() && folders.is_none();
    if is_nothing && !arguments.credentials {
        let message =
            "Say what to set: --cpus, --memory, --disk, --mount, --no-mount, --autostart or --credentials";
        return Err(CommandError::new(ErrorKind::Usage, message));
    }
    if arguments.credentials {
        // From the environment only: a command line is no place for secrets.
        let driver = context.lifecycle().whole(&name)?.driver;
        let options = options::of_driver(&*driver, &[], context.environment)?;
        context.lifecycle().reauthorize(&name, &options).await?;
    }
    if sizes != NewSizes::default() {
        context.lifecycle().resize(&name, &sizes).await?;
    }
    if let Some(folders) = folders {
        context.lifecycle().share(&name, folders).await?;
    }
    match arguments.autostart {
        None => Ok(()),
        Some(autostart) => {
            context.lifecycle().whole(&name)?;
            context.set_autostart(&name, autostart)
        }
    }
}

/// The folders that the machine is to see from now on, if anything was said about them.
fn folders(context: &Context<'_>, arguments: &Set) -> Result<Option<Vec<SharedFolder>>, CommandError> {
    match (arguments.mount.is_empty(), arguments.no_mount) {
        (true, false) => Ok(None),
        (true, true) => Ok(Some(Vec::new())),
        (false, false) => folder_choice::parse_all(&arguments.mount, context.environment).map(Some),
        (false, true) => {
            Err(CommandError::new(ErrorKind::Usage, "--mount and --no-mount contradict each other"))
        }
    }
}
