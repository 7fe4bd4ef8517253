//! `machine inspect`: the record, whole or by a template.

use super::Context;
use crate::{cli::Inspect, error::CommandError, template::Template};
use serde::Serialize;
use serde_json::{Value, ser::PrettyFormatter};

pub(super) fn run(context: &Context<'_>, arguments: &Inspect) -> Result<(), CommandError> {
    let template = arguments.format.as_deref().map(Template::parse).transpose()?;
    let name = context.name(arguments.name.as_deref())?;
    let document = context.store.load(&name)?.document(context.store.root());
    context.ui.data(&template.map_or_else(|| pretty(&document), |template| template.render(&document)));
    Ok(())
}

/// Four spaces, as docker-machine's.
fn pretty(document: &Value) -> String {
    let mut text = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    match document.serialize(&mut serializer) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        // Writing a JSON value to memory does not fail; if it did, this shows the same data.
        Err(_) => document.to_string(),
    }
}
