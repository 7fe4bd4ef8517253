//! `machine provision`: what `create` sees to after the machine is there, once more.

use super::Context;
use crate::{cli::Names, error::CommandError};

pub(super) async fn run(context: &Context<'_>, arguments: &Names) -> Result<(), CommandError> {
    let names = context.names(&arguments.names)?;
    let lifecycle = context.lifecycle();
    context.each(&names, |name| lifecycle.provision(name)).await
}
