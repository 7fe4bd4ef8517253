//! `machine version`: ours, or that of a machine's engine.

use super::{Context, reach};
use crate::{cli::Version, engine_api, error::CommandError};
use guest_contract::version::RELEASE;
use std::time::Duration;

/// Until the engine must have said.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn run(context: &Context<'_>, arguments: &Version) -> Result<(), CommandError> {
    let Some(name) = &arguments.name else {
        let name = if crate::is_docker_machine(context.invocation) { "docker-machine" } else { "machine" };
        let build = if name == "machine" { "" } else { ", build machine" };
        context.ui.data(&format!("{name} version {RELEASE}{build}"));
        return Ok(());
    };
    let name = name.parse()?;
    let endpoint = reach::live(context, &name, false).await?;
    let version = engine_api::version(&endpoint, LIMIT)
        .await
        .map_err(|error| CommandError::caused("Unable to query docker version", &error))?;
    context.ui.data(&version);
    Ok(())
}
