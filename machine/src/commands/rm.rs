//! `machine rm`, of several machines at once.

use super::Context;
use crate::{
    cli::Rm,
    error::{CommandError, ErrorKind},
};

pub(super) async fn run(context: &Context<'_>, arguments: &Rm) -> Result<(), CommandError> {
    let names = context.names(&arguments.names)?;
    let list = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    context.ui.status(&format!("About to remove {list}"));
    context.ui.status("WARNING: This action will delete both local reference and remote instance.");
    if !arguments.force && !arguments.yes {
        let answer = context.ui.confirm("Are you sure?");
        let nobody = || {
            CommandError::new(ErrorKind::Failed, "Nobody is there to say that it may be removed")
                .hinted("Say so with -y")
        };
        if !answer.map_err(|_| nobody())?.ok_or_else(nobody)? {
            return Ok(());
        }
    }
    let lifecycle = context.lifecycle();
    context.each(&names, |name| lifecycle.remove(name, arguments.force)).await
}
