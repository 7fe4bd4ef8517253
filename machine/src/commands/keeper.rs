//! `machine keeper`: the body of a machine's background process.

use super::Context;
use crate::{
    cli::Keeper,
    error::{CommandError, ErrorKind},
    keeper::{self, KeeperPlan},
};

pub(super) async fn run(context: &Context<'_>, arguments: &Keeper) -> Result<(), CommandError> {
    let name = arguments.name.parse()?;
    let record = context.store.load(&name)?;
    let driver = context.drivers.get(&record.driver)?;
    // Not `Lifecycle::whole`: `create` starts the keeper of a machine that is not whole yet.
    let Some((own, instance)) = record.own().and_then(|own| Some((own, own.instance.as_ref()?))) else {
        return Err(CommandError::new(
            ErrorKind::Failed,
            format!("Machine \"{name}\" has nothing to look after"),
        ));
    };
    let failed = |error: &(dyn std::error::Error + 'static)| {
        CommandError::caused(format!("Could not look after machine \"{name}\""), error)
    };
    let plan = KeeperPlan {
        name: name.hostname(),
        directory: context.store.folder(&name),
        machine_id: own.id.as_str().to_owned(),
        access: driver.access(instance).await.map_err(|error| failed(&error))?,
        engine: own.engine.clone(),
        folders: own.request.folders.clone(),
    };
    context.drivers.rest();
    keeper::serve(plan).await.map_err(|error| failed(&error))
}
