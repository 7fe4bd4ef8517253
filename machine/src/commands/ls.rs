//! `machine ls`: all machines, looked at all at once.

mod filter;
mod look;
mod table;

use super::Context;
use crate::{cli::Ls, error::CommandError, template::Template};
use filter::Filters;
use serde::Serialize;
use serde_json::Value;

/// One machine; the fields of docker-machine's templates.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    name: String,
    active: String,
    active_host: bool,
    active_swarm: bool,
    driver_name: String,
    state: String,
    #[serde(rename = "URL")]
    url: String,
    swarm: String,
    swarm_options: Option<Value>,
    engine_options: Option<Value>,
    docker_version: String,
    error: String,
    /// As Go prints a duration.
    response_time: String,
    #[serde(skip)]
    labels: Vec<String>,
}

enum Format {
    Table,
    Json,
    Template { template: Template, headings: bool },
}

pub(super) async fn run(context: &Context<'_>, arguments: &Ls) -> Result<(), CommandError> {
    let filters = Filters::parse(&arguments.filter)?;
    let format = Format::parse(arguments.format.as_deref())?;
    let mut names = context.store.list()?;
    names.sort_by(|a, b| table::natural(a.as_str(), b.as_str()));
    if arguments.quiet && filters.is_empty() {
        names.iter().for_each(|name| context.ui.data(name.as_str()));
        return Ok(());
    }
    let rows = look::rows(context, &names, arguments.timeout).await;
    let rows: Vec<Row> = rows.into_iter().filter(|row| filters.admit(row)).collect();
    if arguments.quiet {
        rows.iter().for_each(|row| context.ui.data(&row.name));
        return Ok(());
    }
    for line in format.render(&rows)? {
        context.ui.data(&line);
    }
    Ok(())
}

impl Format {
    fn parse(text: Option<&str>) -> Result<Self, CommandError> {
        Ok(match text {
            None | Some("table") => Self::Table,
            Some("json") => Self::Json,
            Some(text) => {
                let (text, headings) = match text.strip_prefix("table ") {
                    Some(text) => (text, true),
                    None => (text, false),
                };
                Self::Template { template: Template::parse(text)?, headings }
            }
        })
    }

    fn render(&self, rows: &[Row]) -> Result<Vec<String>, CommandError> {
        // A row is plain data; it always has a JSON form.
        let data = |row: &Row| serde_json::to_value(row).unwrap_or(Value::Null);
        Ok(match self {
            Self::Table => table::render(rows),
            Self::Json => rows.iter().map(|row| data(row).to_string()).collect(),
            Self::Template { template, headings } => {
                let heading = headings.then(table::headings);
                let data = heading.into_iter().chain(rows.iter().map(data));
                let lines = data.map(|data| template.render(&data)).collect::<Result<Vec<_>, _>>()?;
                if *headings { table::align(&lines) } else { lines }
            }
        })
    }
}
