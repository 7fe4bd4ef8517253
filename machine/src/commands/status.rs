//! `machine status`: one word on stdout, and what is wrong, if anything, on stderr.

use super::Context;
use crate::{cli::OptionalName, error::CommandError};
use std::time::Duration;

/// Until the driver must have said.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn run(context: &Context<'_>, arguments: &OptionalName) -> Result<(), CommandError> {
    let name = context.name(arguments.name.as_deref())?;
    context.store.load(&name)?;
    let seen = context.lifecycle().observe(&name, LIMIT).await;
    context.ui.data(&seen.state.to_string());
    if let Some(error) = seen.error {
        context.ui.warning(&error);
    }
    Ok(())
}
