//! What is in a cloud account in this store's name though no machine of it is left.

use crate::{
    cli::Gc,
    commands::{Context, create::own_options},
    error::CommandError,
};
use machine_drivers::{DriverOptions, Leftover};
use std::collections::BTreeSet;

/// Looks into the account of the driver `name`, and removes what is left over unless told otherwise.
pub(super) async fn sweep(
    context: &Context<'_>,
    name: &str,
    arguments: &Gc,
    options: DriverOptions,
) -> Result<(), CommandError> {
    let driver = context.drivers.get(name)?;
    let options = own_options(context, &*driver, options)?;
    let owner = context.store.id()?;
    let look = |remove: bool| {
        let (driver, options, owner) = (&driver, &options, &owner);
        async move {
            // Read anew each time: a `create` writes its record before it makes anything.
            driver.leftovers(options, owner, &alive(context)?, remove).await.map_err(CommandError::from)
        }
    };
    let found = look(false).await?;
    if found.is_empty() {
        context.ui.status("Nothing is left over in the account");
        return Ok(());
    }
    found.iter().for_each(|left| context.ui.data(&line(left)));
    let remove = "Remove this for good?";
    if arguments.dry_run || !(arguments.yes || context.confirmed(remove, "Say so with -y")?) {
        return Ok(());
    }
    let removed = look(true).await?;
    context.ui.status(&format!("Removed {}", removed.len()));
    Ok(())
}

/// The ids of all machines of the store. One whose record cannot be read may be any of them, so then
/// nothing counts as left over.
fn alive(context: &Context<'_>) -> Result<BTreeSet<String>, CommandError> {
    let mut ids = BTreeSet::new();
    for name in context.store.list()? {
        if let Some(own) = context.store.load(&name)?.own() {
            ids.insert(own.id.as_str().to_owned());
        }
    }
    Ok(ids)
}

fn line(left: &Leftover) -> String {
    format!("{}  {}  {}", left.kind, left.id, left.name)
}
