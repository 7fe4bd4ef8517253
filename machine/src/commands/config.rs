//! `machine config`: the TLS endpoint as options of the docker client, after it has answered.

use super::{Context, reach};
use crate::{cli::Config, error::CommandError};

pub(super) async fn run(context: &Context<'_>, arguments: &Config) -> Result<(), CommandError> {
    context.no_swarm(arguments.swarm)?;
    let name = context.name(arguments.name.as_deref())?;
    let failed = |error: CommandError| error.within("Error running connection boilerplate");
    let endpoint = reach::live_tls(context, &name).await.map_err(failed)?;
    reach::check(&endpoint).await.map_err(failed)?;
    context.ui.data(&format!(
        "--tlsverify\n--tlscacert=\"{}\"\n--tlscert=\"{}\"\n--tlskey=\"{}\"\n-H={}",
        endpoint.authority.display(),
        endpoint.certificate.display(),
        endpoint.key.display(),
        endpoint.url()
    ));
    Ok(())
}
