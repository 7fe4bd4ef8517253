//! `machine rm`, of several machines at once.

use super::Context;
use crate::{cli::Rm, error::CommandError};

pub(super) async fn run(context: &Context<'_>, arguments: &Rm) -> Result<(), CommandError> {
    let names = context.names(&arguments.names)?;
    let list = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    context.ui.status(&format!("About to remove {list}"));
    context.ui.status("WARNING: This action will delete both local reference and remote instance.");
    if !arguments.force && !arguments.yes && !context.confirmed("Are you sure?", "Say so with -y")? {
        return Ok(());
    }
    let lifecycle = context.lifecycle();
    context.each(&names, |name| lifecycle.remove(name, arguments.force)).await
}
