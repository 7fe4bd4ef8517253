//! `machine upgrade`: machines run the engine that their guest image has.

use super::Context;
use crate::{
    cli::Names, endpoint::Endpoint, engine_api, error::CommandError, lifecycle::Power, machine::MachineName,
};
use guest_contract::version::RELEASE;
use machine_drivers::EngineHome;
use std::time::Duration;

/// Until the engine must have said its version.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn run(context: &Context<'_>, arguments: &Names) -> Result<(), CommandError> {
    let names = context.names(&arguments.names)?;
    context.each(&names, |name| upgrade(context, name)).await
}

/// An engine comes with its guest, so an upgrade is a boot of the present image.
async fn upgrade(context: &Context<'_>, name: &MachineName) -> Result<(), CommandError> {
    let lifecycle = context.lifecycle();
    let whole = lifecycle.whole(name)?;
    let Ok(access) = lifecycle.access(&whole).await else {
        // A machine that is off boots the present image anyway.
        return lifecycle.power(name, Power::Start).await;
    };
    if access.engine == EngineHome::Host {
        // There the engine is upgraded in place, under its containers.
        return lifecycle.provision(name).await;
    }
    context.ui.status("Upgrading docker...");
    let endpoint = Endpoint::Socket(context.guests.api_socket(&whole.folder));
    if engine_api::version(&endpoint, LIMIT).await.is_ok_and(|version| version == RELEASE) {
        context.ui.status(&format!("The engine of \"{name}\" is {RELEASE} already."));
        return Ok(());
    }
    context.ui.status("Restarting docker...");
    lifecycle.power(name, Power::Restart).await
}
