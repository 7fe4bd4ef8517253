//! `machine gc`: what interrupted commands left, and what was made for machines that are no more; in a
//! cloud account as well, if one is named.

mod account;

use super::Context;
use crate::{
    autostart::Autostart,
    cli::Gc,
    error::CommandError,
    machine::MachineName,
    store::{MachineLock, Stage},
};
use machine_drivers::DriverOptions;
use std::{fs, time::Duration};

/// An unpacked kernel that was made so long ago is made again when it is needed.
const STALE: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) async fn run(
    context: &Context<'_>,
    arguments: &Gc,
    options: DriverOptions,
) -> Result<(), CommandError> {
    // Listing alone deletes what was on its way in or out.
    let names = context.store.list()?;
    let halves: Vec<&MachineName> = names.iter().filter(|name| is_half(context, name)).collect();
    for name in &halves {
        context.ui.status(&format!("Machine \"{name}\" was left by an interrupted command"));
    }
    if !arguments.dry_run {
        let lifecycle = context.lifecycle();
        context.each(&halves, |name| lifecycle.remove(name, false)).await?;
        contexts(context)?;
    }
    let left: Vec<&MachineName> =
        names.iter().filter(|name| arguments.dry_run || !halves.contains(name)).collect();
    units(context, &left, arguments.dry_run)?;
    stale_cache(context, arguments.dry_run);
    match &arguments.driver {
        Some(driver) => account::sweep(context, driver, arguments, options).await,
        None => Ok(()),
    }
}

fn is_half(context: &Context<'_>, name: &MachineName) -> bool {
    let record = context.store.load(name);
    let half = record.is_ok_and(|record| record.own().is_some_and(|own| own.state != Stage::Created));
    half && !MachineLock::is_held(&context.store.folder(name))
}

fn contexts(context: &Context<'_>) -> Result<(), CommandError> {
    let Some(contexts) = context.contexts else { return Ok(()) };
    let machines = context.store.machines();
    let swept = contexts.sweep(&machines).map_err(|error| {
        CommandError::caused("Could not remove docker contexts of removed machines", &error)
    })?;
    swept.iter().for_each(|name| context.ui.status(&format!("Removed the docker context {name}")));
    Ok(())
}

fn units(context: &Context<'_>, names: &[&MachineName], dry_run: bool) -> Result<(), CommandError> {
    let Ok(autostart) = Autostart::of(context.environment, context.store.root()) else { return Ok(()) };
    for name in autostart.enabled().iter().filter(|name| !names.contains(name)) {
        context.ui.status(&format!("The unit of machine \"{name}\" is of no use any more"));
        if !dry_run {
            autostart.disable(name).map_err(|error| CommandError::caused("Could not remove it", &error))?;
        }
    }
    Ok(())
}

fn stale_cache(context: &Context<'_>, dry_run: bool) {
    let Ok(entries) = fs::read_dir(context.store.cache()) else { return };
    for entry in entries.flatten() {
        let age =
            entry.metadata().and_then(|found| found.modified()).ok().and_then(|time| time.elapsed().ok());
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && age.is_some_and(|age| age > STALE) {
            context.ui.status(&format!("{} can be made again", entry.path().display()));
            if !dry_run && let Err(error) = fs::remove_file(entry.path()) {
                context.ui.warning(&format!("It could not be removed: {error}"));
            }
        }
    }
}
