//! `machine logs`: the end of the console or of the keeper's log.

use super::Context;
use crate::{
    cli::Logs,
    error::CommandError,
    store::{StoreError, files},
};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// As much of the keeper's log as is read, in bytes, however many lines are asked for.
const MAX_LOG: u64 = 1024 * 1024;

pub(super) async fn run(context: &Context<'_>, arguments: &Logs) -> Result<(), CommandError> {
    let name = context.name(arguments.name.as_deref())?;
    let lines = if arguments.keeper {
        context.store.load(&name)?;
        let path = context.store.folder(&name).join(files::KEEPER_LOG);
        tail(&path, arguments.tail)
            .map_err(|source| CommandError::from(StoreError::File { action: "read", path, source }))?
    } else {
        let whole = context.lifecycle().whole(&name)?;
        whole.driver.console_tail(&whole.instance, arguments.tail).await?
    };
    if !lines.is_empty() {
        context.ui.data(&lines.join("\n"));
    }
    Ok(())
}

fn tail(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LOG)))?;
    let mut text = Vec::new();
    file.take(MAX_LOG).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect())
}
