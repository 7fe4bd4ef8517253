//! `machine logs`: the end of the console, of the engine's log or of the keeper's, and what comes after.

use super::Context;
use crate::{
    cli::Logs,
    error::{CommandError, ErrorKind},
    file_error::FileError,
    lifecycle::Whole,
    ssh,
    store::files,
};
use guest_contract::{host::SERVICE, paths::ENGINE_LOG};
use machine_drivers::EngineHome;
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};
use tokio::time::sleep;

/// As much of a log as is read, in bytes, however many lines are asked for.
const MAX_LOG: u64 = 1024 * 1024;
/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn run(context: &Context<'_>, arguments: &Logs) -> Result<(), CommandError> {
    let name = context.name(arguments.name.as_deref())?;
    if arguments.keeper {
        context.store.load(&name)?;
        let path = context.store.folder(&name).join(files::KEEPER_LOG);
        let end = length(&path);
        let lines = tail(&path, arguments.tail).map_err(FileError::on("read", &path))?;
        return show(context, &lines, arguments.follow.then_some((path.as_path(), end))).await;
    }
    let whole = context.lifecycle().whole(&name)?;
    if arguments.engine {
        return engine(context, &whole, arguments).await;
    }
    let file = whole.driver.console_file(&whole.instance);
    let end = file.as_deref().map_or(0, length);
    let lines = whole.driver.console_tail(&whole.instance, arguments.tail).await?;
    match (&file, arguments.follow) {
        (Some(file), true) => show(context, &lines, Some((file, end))).await,
        (None, true) => {
            let message = format!("The console of \"{name}\" cannot be followed");
            Err(CommandError::new(ErrorKind::Failed, message))
        }
        (_, false) => show(context, &lines, None).await,
    }
}

/// What reads it there does so as root.
async fn engine(context: &Context<'_>, whole: &Whole, arguments: &Logs) -> Result<(), CommandError> {
    let access = context.lifecycle().access(whole).await?;
    let Logs { tail, follow, .. } = arguments;
    let follow = |option: &'static str| if *follow { option } else { "" };
    let command = match &access.engine {
        EngineHome::Guest => format!("exec tail -n {tail}{} {ENGINE_LOG}", follow(" -F")),
        EngineHome::Host => format!(
            "if [ -d /run/systemd/system ]; then set -- journalctl -q --no-pager -o cat -u {SERVICE} -n {tail}{}; \
             else set -- tail -n {tail}{} /var/log/{SERVICE}.log; fi; \
             [ \"$(id -u)\" -ne 0 ] || exec \"$@\"; \
             if command -v sudo >/dev/null; then exec sudo -n \"$@\"; else exec doas -n \"$@\"; fi",
            follow(" -f"),
            follow(" -F")
        ),
        EngineHome::Existing(socket) => {
            let message = format!(
                "The engine of \"{}\" at {socket} is not of machine, and keeps its log itself",
                whole.record.name
            );
            return Err(CommandError::new(ErrorKind::Failed, message));
        }
    };
    let code =
        ssh::run_command(&access, &whole.folder, Some(vec![command]), false).await.map_err(|error| {
            CommandError::caused(
                format!("Could not read the engine's log of \"{}\"", whole.record.name),
                &error,
            )
        })?;
    if code == 0 { Ok(()) } else { Err(CommandError::new(ErrorKind::Remote(code), "")) }
}

/// Shows `lines`, and then what the file gets behind the byte that was its end.
async fn show(
    context: &Context<'_>,
    lines: &[String],
    followed: Option<(&Path, u64)>,
) -> Result<(), CommandError> {
    if !lines.is_empty() {
        context.ui.data(&lines.join("\n"));
    }
    let Some((path, mut at)) = followed else { return Ok(()) };
    let mut inode = path.metadata().map_or(0, |found| found.ino());
    let mut interrupts = context.interrupts.listen();
    loop {
        tokio::select! {
            () = sleep(LOOK) => {}
            () = interrupts.next() => return Ok(()),
        }
        let Ok(found) = path.metadata() else { continue };
        if found.ino() != inode || found.len() < at {
            // The next boot has a file of its own.
            (inode, at) = (found.ino(), 0);
        }
        // What cannot be read now may be in a moment; a follower does not give up.
        let text = read_from(path, at).unwrap_or_default();
        at += text.len() as u64;
        if !text.is_empty() {
            let shown: String = String::from_utf8_lossy(&text)
                .chars()
                .filter(|character| !character.is_control() || matches!(character, '\n' | '\t'))
                .collect();
            context.ui.data_raw(&shown);
        }
    }
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |found| found.len())
}

fn read_from(path: &Path, at: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut text = Vec::new();
    file.take(MAX_LOG).read_to_end(&mut text)?;
    Ok(text)
}

fn tail(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    let text = match read_from(path, length(path).saturating_sub(MAX_LOG)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect())
}
