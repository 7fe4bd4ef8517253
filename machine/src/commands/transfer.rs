//! `machine export` and `machine import`.

use super::Context;
use crate::{
    cli::{Export, Import},
    error::CommandError,
    folder_choice::{self, Said},
    image,
    lifecycle::{Creation, driver_of},
    store::Request,
    transfer,
};

pub(super) async fn export(context: &Context<'_>, arguments: &Export) -> Result<(), CommandError> {
    let name = arguments.name.parse()?;
    let path = match &arguments.file {
        Some(path) => path.clone(),
        None => format!("{name}.machine").into(),
    };
    context.lifecycle().export(&name, &context.environment.working_folder.join(&path)).await?;
    context.ui.status(&format!("Wrote {}; it holds the machine's private keys", path.display()));
    Ok(())
}

pub(super) async fn import(context: &Context<'_>, arguments: &Import) -> Result<(), CommandError> {
    let path = context.environment.working_folder.join(&arguments.file);
    let header = transfer::read_header(&path)
        .map_err(|error| CommandError::caused("Could not import a machine", &error))?;
    let name = arguments.name.as_deref().unwrap_or(&header.name).parse()?;
    let driver = driver_of(&header, context.drivers)?;
    let image = match image::find(None, context.environment) {
        Ok(image) => Some(image),
        Err(_) if !driver.capabilities().seed_channel => None,
        Err(error) => return Err(error.into()),
    };
    let was = &header.machine.request;
    let said = Said { mounts: &[], none: was.folders.is_empty() };
    let folders = folder_choice::choose(said, &*driver, context.environment)?;
    let creation = Creation {
        driver,
        request: Request {
            image,
            cpus: was.cpus,
            memory_mib: was.memory_mib,
            disk_gib: was.disk_gib.or_else(|| header.disk_gib()),
            // Those of another computer are not here.
            folders,
        },
        options: machine_drivers::DriverOptions::new(),
        engine: header.machine.engine.clone(),
        // The other computer's files are not here.
        tls: crate::store::TlsPart { files: None, ..header.machine.tls.clone() },
        keep_on_error: false,
        name,
    };
    let name = creation.name.clone();
    context.lifecycle().import(&path, header, creation).await?;
    context.ui.status(&format!("Machine \"{name}\" is here; start it with \"machine start {name}\""));
    Ok(())
}
