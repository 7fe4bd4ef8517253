//! `machine set`: what `create` decided, changed later.

use super::Context;
use crate::{
    cli::Set,
    error::{CommandError, ErrorKind},
};
use machine_drivers::NewSizes;

pub(super) async fn run(context: &Context<'_>, arguments: &Set) -> Result<(), CommandError> {
    let name = context.name(arguments.name.as_deref())?;
    let sizes = NewSizes { cpus: arguments.cpus, memory_mib: arguments.memory, disk_gib: arguments.disk };
    if sizes == NewSizes::default() && arguments.autostart.is_none() {
        let message = "Say what to set: --cpus, --memory, --disk or --autostart";
        return Err(CommandError::new(ErrorKind::Usage, message));
    }
    if sizes != NewSizes::default() {
        context.lifecycle().resize(&name, &sizes).await?;
    }
    match arguments.autostart {
        None => Ok(()),
        Some(autostart) => {
            context.lifecycle().whole(&name)?;
            context.set_autostart(&name, autostart)
        }
    }
}
