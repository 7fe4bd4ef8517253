//! `machine start`, `stop`, `restart` and `kill`, of several machines at once.

use super::Context;
use crate::{cli::Names, error::CommandError, lifecycle::Power};

pub(super) async fn run(context: &Context<'_>, arguments: &Names, power: Power) -> Result<(), CommandError> {
    let names = context.names(&arguments.names)?;
    let lifecycle = context.lifecycle();
    context.each(&names, |name| lifecycle.power(name, power)).await
}
