//! `machine gc`: what is in a cloud account in this store's name though no machine of it is left.

use super::{Context, create::own_options};
use crate::{
    cli::Gc,
    env_vars,
    error::{CommandError, ErrorKind},
};
use machine_drivers::{DriverOptions, Leftover};
use std::{collections::BTreeSet, sync::Arc};

pub(super) async fn run(
    context: &Context<'_>,
    arguments: &Gc,
    options: DriverOptions,
) -> Result<(), CommandError> {
    let named = arguments.driver.as_deref().or(context.environment.get(env_vars::DRIVER));
    let driver = named.ok_or_else(|| {
        CommandError::new(ErrorKind::Usage, "No driver is named")
            .hinted("Name the one whose account is to be looked at: machine gc --driver NAME")
    })?;
    let driver = Arc::clone(context.drivers.get(driver)?);
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
        context.ui.status("Nothing is left over");
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
