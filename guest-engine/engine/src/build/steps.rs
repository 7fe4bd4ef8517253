//! An instruction with the variables of its stage put in.

use super::{
    expand::{Lookup, document, word, words},
    instruction::{Command, RunFlags, Transfer},
};

/// Replaces variables in those words of an instruction that may have some. Commands keep theirs: the shell
/// of the container replaces them.
pub(crate) fn expanded(
    command: &Command,
    escape: char,
    env: &(impl Lookup + ?Sized),
) -> Result<Command, String> {
    let bad = |text: &str, error: String| format!("failed to process {text:?}: {error}");
    let one = |text: &String| word(text, escape, env).map_err(|error| bad(text, error));
    let each = |list: &[String]| list.iter().map(one).collect::<Result<Vec<String>, String>>();
    let option = |text: &Option<String>| text.as_ref().map(one).transpose();
    let pairs = |list: &[(String, String)]| {
        list.iter().map(|(name, value)| Ok((one(name)?, one(value)?))).collect::<Result<Vec<_>, String>>()
    };
    Ok(match command {
        Command::Env(list) => Command::Env(pairs(list)?),
        Command::Label(list) => Command::Label(pairs(list)?),
        Command::Arg(list) => Command::Arg(
            list.iter()
                .map(|(name, value)| Ok((one(name)?, option(value)?)))
                .collect::<Result<Vec<_>, String>>()?,
        ),
        Command::Workdir(path) => Command::Workdir(one(path)?),
        Command::User(user) => Command::User(one(user)?),
        Command::StopSignal(signal) => Command::StopSignal(one(signal)?),
        Command::Volume(list) => Command::Volume(each(list)?),
        Command::Expose(list) => {
            let mut ports = Vec::new();
            for port in list {
                ports.extend(words(port, escape, env).map_err(|error| bad(port, error))?);
            }
            Command::Expose(ports)
        }
        Command::Transfer(transfer) => {
            let mut sources = Vec::new();
            for source in &transfer.sources {
                sources.push(if source.starts_with("<<") { source.clone() } else { one(source)? });
            }
            let mut heredocs = transfer.heredocs.clone();
            for heredoc in heredocs.iter_mut().filter(|heredoc| heredoc.expand) {
                heredoc.content = document(&heredoc.content, escape, env)?;
            }
            Command::Transfer(Transfer {
                add: transfer.add,
                from: transfer.from.clone(),
                chown: option(&transfer.chown)?,
                chmod: option(&transfer.chmod)?,
                exclude: each(&transfer.exclude)?,
                checksum: option(&transfer.checksum)?,
                sources,
                destination: one(&transfer.destination)?,
                heredocs,
                ..*transfer
            })
        }
        Command::Run { command, flags, heredocs } => Command::Run {
            command: command.clone(),
            flags: RunFlags { mounts: each(&flags.mounts)?, ..flags.clone() },
            heredocs: heredocs.clone(),
        },
        other => other.clone(),
    })
}
