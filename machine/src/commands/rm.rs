//! `machine rm`, of several machines at once.

use super::Context;
use crate::{autostart::Autostart, cli::Rm, error::CommandError};

pub(super) async fn run(context: &Context<'_>, arguments: &Rm) -> Result<(), CommandError> {
    let names = context.names(&arguments.names)?;
    let list = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    context.ui.status(&format!("About to remove {list}"));
    context.ui.status("WARNING: This action will delete both local reference and remote instance.");
    if !arguments.force && !arguments.yes && !context.confirmed("Are you sure?", "Say so with -y")? {
        return Ok(());
    }
    let lifecycle = context.lifecycle();
    context
        .each(&names, async |name| {
            lifecycle.remove(name, arguments.force).await?;
            // Without a home there was never a unit.
            Autostart::of(context.environment, context.store.root()).map_or(Ok(()), |autostart| {
                autostart.disable(name).map_err(|error| {
                    CommandError::caused(format!("Could not remove the unit of machine \"{name}\""), &error)
                })
            })
        })
        .await
}
