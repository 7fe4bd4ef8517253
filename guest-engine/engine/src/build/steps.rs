//! An instruction with the variables of its stage put in.

use super::{
    expand::{Lookup, document, shown, word, words},
    instruction::{Command, Instruction, RunFlags, Transfer},
};

/// An instruction as BuildKit shows it: with what is known of its variables, and how its script begins.
pub(crate) fn title(instruction: &Instruction, escape: char, env: &(impl Lookup + ?Sized)) -> String {
    let text = &instruction.text;
    match &instruction.command {
        Command::Run { heredocs, .. } => {
            let text = match heredocs.first() {
                Some(heredoc) => format!("{text} ({})", heredoc.summary()),
                None => text.clone(),
            };
            shown(&text, escape, env).unwrap_or(text)
        }
        _ => word(text, escape, env).unwrap_or_else(|_| text.clone()),
    }
}

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
                heredoc.content = document(&heredoc.content, env)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{dockerfile::Dockerfile, instruction::parse};

    #[test]
    fn titles_say_what_is_done() {
        let env = [("A".to_owned(), "a b".to_owned())];
        for (text, expected) in [
            ("RUN echo \"$A\" '$A' $B", "RUN echo \"a b\" '$A' $B"),
            ("RUN <<EOF\n\necho $A\necho\nEOF", "RUN <<EOF (echo a b...)"),
            ("COPY \"$A\" $B/c /d", "COPY a b /c /d"),
            ("RUN echo 'it", "RUN echo 'it"),
        ] {
            let instruction = parse(&Dockerfile::parse(text).unwrap()).unwrap().remove(0);
            assert_eq!(title(&instruction, '\\', env.as_slice()), expected);
        }
    }
}
