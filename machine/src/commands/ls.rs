//! `machine ls`: all machines, looked at all at once.

mod filter;
mod table;

use super::Context;
use crate::{
    cli::Ls,
    endpoint::{Endpoint, socket_url},
    engine_api, env_vars,
    error::CommandError,
    lifecycle::Observation,
    machine::MachineName,
    template::Template,
};
use filter::Filters;
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::Value;
use std::time::{Duration, Instant};

/// One machine; the fields of docker-machine's templates.
#[derive(Debug, Serialize)]
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
    docker_version: String,
    error: String,
    /// Nanoseconds.
    response_time: u64,
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
    let limit = Duration::from_secs(arguments.timeout);
    let rows = join_all(names.iter().map(|name| row(context, name, limit))).await;
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

async fn row(context: &Context<'_>, name: &MachineName, limit: Duration) -> Row {
    let began = Instant::now();
    let Observation { record, state, error, socket, ready, .. } =
        context.lifecycle().observe(name, limit).await;
    let version = match (&socket, ready) {
        (Some(socket), true) => {
            let endpoint = Endpoint::Socket(socket.clone());
            engine_api::version(&endpoint, limit.saturating_sub(began.elapsed())).await.ok()
        }
        _ => None,
    };
    let url = socket.map(|socket| socket_url(&socket)).unwrap_or_default();
    let active = !url.is_empty() && context.environment.get(env_vars::DOCKER_HOST) == Some(&url);
    Row {
        name: name.to_string(),
        active: if active { "*" } else { "-" }.to_owned(),
        active_host: active,
        active_swarm: false,
        driver_name: record.as_ref().map(|record| record.driver.clone()).unwrap_or_default(),
        state: state.to_string(),
        url,
        swarm: String::new(),
        docker_version: version.map_or_else(|| "Unknown".to_owned(), |version| format!("v{version}")),
        error: error.unwrap_or_default(),
        response_time: u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX),
        labels: record
            .as_ref()
            .and_then(|record| record.own())
            .map(|own| own.engine.labels.clone())
            .unwrap_or_default(),
    }
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
