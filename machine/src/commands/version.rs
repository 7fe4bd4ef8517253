//! `machine version`: ours, or that of a machine's engine.

use super::{Context, reach};
use crate::{
    cli::Version,
    engine_api,
    error::{CommandError, ErrorKind},
};
use guest_contract::version::RELEASE;
use std::time::Duration;

/// Until the engine must have said.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn run(context: &Context<'_>, arguments: &Version) -> Result<(), CommandError> {
    let Some(name) = &arguments.name else {
        context.ui.data(&format!("machine version {RELEASE}"));
        return Ok(());
    };
    let name = name.parse()?;
    let socket = reach::live_socket(context, &name).await?;
    let version = engine_api::version(&socket, LIMIT).await.ok_or_else(|| {
        let message = format!("Unable to query docker version: the engine of \"{name}\" does not answer");
        CommandError::new(ErrorKind::Failed, message)
    })?;
    context.ui.data(&version);
    Ok(())
}
