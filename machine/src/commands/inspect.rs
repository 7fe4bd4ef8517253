//! `machine inspect`: the record, whole or by a template.

use super::Context;
use crate::{
    cli::Inspect,
    error::CommandError,
    template::{Template, pretty},
};

pub(super) fn run(context: &Context<'_>, arguments: &Inspect) -> Result<(), CommandError> {
    let template = arguments.format.as_deref().map(Template::parse).transpose()?;
    let name = context.name(arguments.name.as_deref())?;
    let document = context.store.load(&name)?.document(context.store.root());
    let text = match template {
        Some(template) => template.render(&document)?,
        None => pretty(&document),
    };
    context.ui.data(&text);
    Ok(())
}
