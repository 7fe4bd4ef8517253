//! `machine regenerate-certs`, of several machines at once.

use super::Context;
use crate::{cli::RegenerateCerts, error::CommandError};

pub(super) async fn run(context: &Context<'_>, arguments: &RegenerateCerts) -> Result<(), CommandError> {
    let names = context.names(&arguments.names)?;
    let question = "Regenerate TLS machine certs?  Warning: this is irreversible.";
    if !arguments.force && !context.confirmed(question, "Say so with -f")? {
        return Ok(());
    }
    context.ui.status("Regenerating TLS certificates");
    let lifecycle = context.lifecycle();
    if arguments.client_certs
        && let Some((first, others)) = names.split_first()
    {
        // One new authority for all of them.
        lifecycle.regenerate_certificates(first, true).await?;
        return context.each(others, |name| lifecycle.regenerate_certificates(name, false)).await;
    }
    context.each(&names, |name| lifecycle.regenerate_certificates(name, false)).await
}
