//! Logical lines as instructions. Words are not expanded yet: that needs the stage they run in.

mod words;

use super::dockerfile::{Dockerfile, Heredoc, Line, at_line};
use crate::error::{EngineError, Result};
use bollard_stubs::models::HealthConfig;
use words::{json_list, name_values, split_first, words};

const KEYWORDS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// An instruction and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instruction {
    /// First and last line; 0 for what no Dockerfile says.
    pub lines: (usize, usize),
    /// As `Step 1/4 : …` shows it.
    pub text: String,
    pub command: Command,
}

/// A command in exec form (`["a", "b"]`) or as one line for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandLine {
    pub words: Vec<String>,
    pub shell: bool,
}

/// `COPY` or `ADD`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// `ADD`: URLs and archives are special.
    pub add: bool,
    pub from: Option<String>,
    pub chown: Option<String>,
    pub chmod: Option<String>,
    /// Independent of what is below it.
    pub link: bool,
    /// Keep the folders that a source is named with.
    pub parents: bool,
    /// What not to copy of a source.
    pub exclude: Vec<String>,
    /// What a download must hash to.
    pub checksum: Option<String>,
    /// `.git` of a repository is copied with it.
    pub keep_git_dir: bool,
    /// Whether archives are unpacked; `ADD`'s rule when it does not say.
    pub unpack: Option<bool>,
    /// Paths; `<<NAME` stands for a here-document.
    pub sources: Vec<String>,
    pub destination: String,
    pub heredocs: Vec<Heredoc>,
}

/// What stands before the command of a `RUN`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunFlags {
    /// `type=cache,target=…` each.
    pub mounts: Vec<String>,
    pub network: Option<String>,
    pub security: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    From { image: String, name: Option<String>, platform: Option<String> },
    Run { command: CommandLine, flags: RunFlags, heredocs: Vec<Heredoc> },
    Transfer(Transfer),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Arg(Vec<(String, Option<String>)>),
    Workdir(String),
    User(String),
    Cmd(CommandLine),
    Entrypoint(CommandLine),
    Expose(Vec<String>),
    Volume(Vec<String>),
    StopSignal(String),
    Shell(Vec<String>),
    Healthcheck(HealthConfig),
    OnBuild(String),
    Maintainer(String),
}

/// Every instruction of a Dockerfile.
pub(crate) fn parse(dockerfile: &Dockerfile) -> Result<Vec<Instruction>> {
    dockerfile.lines.iter().map(|line| one(line, dockerfile.escape)).collect()
}

fn one(line: &Line, escape: char) -> Result<Instruction> {
    let command = understood(line, escape).map_err(|error| at_line(line.number, error))?;
    Ok(Instruction { lines: (line.number, line.end), text: line.text.clone(), command })
}

fn understood(line: &Line, escape: char) -> Result<Command> {
    let (keyword, rest) = split_first(&line.text);
    let (flags, rest) = flags(rest, escape)?;
    command(&keyword.to_ascii_uppercase(), &Flags { flags }, rest, line, escape)
}

fn command(
    keyword: &str,
    flags: &Flags,
    rest: &str,
    line: &Line,
    escape: char,
) -> Result<Command, EngineError> {
    let rest = rest.trim();
    let exactly = |count: usize, list: &[String]| match list.len() == count {
        true => Ok(()),
        false if count == 1 => Err(invalid(format!("{keyword} requires exactly one argument"))),
        false => Err(invalid(format!("{keyword} requires exactly {count} arguments"))),
    };
    let some = |empty: bool| match empty {
        true => Err(invalid(format!("{keyword} requires at least one argument"))),
        false => Ok(()),
    };
    let plain = || rest.split_whitespace().map(str::to_owned).collect::<Vec<String>>();
    match keyword {
        "FROM" => {
            flags.only(&["platform"])?;
            let list = plain();
            let name = match list.as_slice() {
                [_] => None,
                [_, by, name] if by.eq_ignore_ascii_case("as") => Some(stage_name(name)?),
                _ => return Err(invalid("FROM requires either one or three arguments")),
            };
            let image = list.into_iter().next().unwrap_or_default();
            Ok(Command::From { image, name, platform: flags.get("platform") })
        }
        "RUN" => {
            flags.check(&["mount", "network", "security"], &["mount"], &[])?;
            some(rest.is_empty())?;
            if let Some(mode) = flags.get("network").filter(|mode| !NETWORKS.contains(&mode.as_str())) {
                return Err(invalid(format!("invalid network mode {mode:?}")));
            }
            let flags = RunFlags {
                mounts: flags.all("mount"),
                network: flags.get("network"),
                security: flags.get("security"),
            };
            Ok(Command::Run { command: command_line(rest)?, flags, heredocs: line.heredocs.clone() })
        }
        "COPY" | "ADD" => transfer(keyword == "ADD", flags, rest, line, escape).map(Command::Transfer),
        "ENV" | "LABEL" => {
            flags.only(&[])?;
            let pairs = name_values(rest, escape, keyword)?;
            some(pairs.is_empty())?;
            Ok(if keyword == "ENV" { Command::Env(pairs) } else { Command::Label(pairs) })
        }
        "ARG" => {
            flags.only(&[])?;
            let list = words(rest, escape);
            some(list.is_empty())?;
            let mut args = Vec::new();
            for word in list {
                let (key, value) = match word.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (word, None),
                };
                if key.is_empty() {
                    return Err(invalid("ARG names can not be blank"));
                }
                args.push((key, value));
            }
            Ok(Command::Arg(args))
        }
        "WORKDIR" | "USER" | "STOPSIGNAL" | "MAINTAINER" => {
            flags.only(&[])?;
            let list = if rest.is_empty() { Vec::new() } else { vec![rest.to_owned()] };
            exactly(1, &list)?;
            let text = rest.to_owned();
            Ok(match keyword {
                "WORKDIR" => Command::Workdir(text),
                "USER" => Command::User(text),
                "STOPSIGNAL" => Command::StopSignal(text),
                _ => Command::Maintainer(text),
            })
        }
        "CMD" | "ENTRYPOINT" => {
            flags.only(&[])?;
            let line = command_line(rest)?;
            Ok(if keyword == "CMD" { Command::Cmd(line) } else { Command::Entrypoint(line) })
        }
        "EXPOSE" => {
            flags.only(&[])?;
            let mut ports = plain();
            some(ports.is_empty())?;
            ports.sort();
            Ok(Command::Expose(ports))
        }
        "VOLUME" => {
            flags.only(&[])?;
            let list = json_list(rest)?.unwrap_or_else(plain);
            some(list.is_empty())?;
            if list.iter().any(|volume| volume.trim().is_empty()) {
                return Err(invalid("VOLUME specified can not be an empty string"));
            }
            Ok(Command::Volume(list.iter().map(|volume| volume.trim().to_owned()).collect()))
        }
        "SHELL" => {
            flags.only(&[])?;
            match json_list(rest)? {
                Some(shell) if !shell.is_empty() => Ok(Command::Shell(shell)),
                Some(_) => Err(invalid("SHELL requires at least one argument")),
                None => Err(invalid("SHELL requires the arguments to be in JSON form")),
            }
        }
        "HEALTHCHECK" => healthcheck(flags, rest).map(Command::Healthcheck),
        "ONBUILD" => {
            flags.only(&[])?;
            some(rest.is_empty())?;
            let trigger = split_first(rest).0.to_ascii_uppercase();
            match trigger.as_str() {
                "ONBUILD" => Err(invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
                "MAINTAINER" | "FROM" => {
                    Err(invalid(format!("{trigger} isn't allowed as an ONBUILD trigger")))
                }
                _ => {
                    // What cannot be understood later had better be said now.
                    understood(&Line { text: rest.to_owned(), ..line.clone() }, escape)?;
                    let documents = line.heredocs.iter().map(Heredoc::lines).collect::<String>();
                    Ok(Command::OnBuild(format!("{rest}{documents}")))
                }
            }
        }
        unknown => {
            let written = split_first(&line.text).0;
            let meant = meant(unknown, KEYWORDS);
            let meant = if written == unknown { meant } else { meant.to_lowercase() };
            Err(invalid(format!("unknown instruction: {written}{meant}")))
        }
    }
}

fn transfer(add: bool, flags: &Flags, rest: &str, line: &Line, escape: char) -> Result<Transfer> {
    let known: &[&str] = match add {
        true => &["chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"],
        false => &["chown", "chmod", "link", "exclude", "parents", "from"],
    };
    flags.check(known, &["exclude"], &["link", "parents", "keep-git-dir", "unpack"])?;
    let mut list = json_list(rest)?.unwrap_or_else(|| words(rest, escape));
    let keyword = if add { "ADD" } else { "COPY" };
    if list.len() < 2 {
        return Err(invalid(format!(
            "{keyword} requires at least two arguments, but only one was provided. Destination could not be \
             determined"
        )));
    }
    let destination = list.pop().unwrap_or_default();
    Ok(Transfer {
        add,
        from: flags.get("from"),
        chown: flags.get("chown"),
        chmod: flags.get("chmod"),
        link: flags.switch("link")?.unwrap_or(false),
        parents: flags.switch("parents")?.unwrap_or(false),
        exclude: flags.all("exclude"),
        checksum: flags.get("checksum"),
        keep_git_dir: flags.switch("keep-git-dir")?.unwrap_or(false),
        unpack: flags.switch("unpack")?,
        sources: list,
        destination,
        heredocs: line.heredocs.clone(),
    })
}

fn healthcheck(flags: &Flags, rest: &str) -> Result<HealthConfig> {
    let (kind, rest) = split_first(rest);
    match kind.to_ascii_uppercase().as_str() {
        "" => Err(invalid("HEALTHCHECK requires at least one argument")),
        "NONE" if rest.is_empty() && flags.flags.is_empty() => {
            Ok(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() })
        }
        "NONE" => Err(invalid("HEALTHCHECK NONE takes no arguments")),
        "CMD" => {
            flags.only(&["interval", "timeout", "start-period", "start-interval", "retries"])?;
            let line = command_line(rest)?;
            if line.words.iter().all(String::is_empty) {
                return Err(invalid("Missing command after HEALTHCHECK CMD"));
            }
            let form = if line.shell { "CMD-SHELL" } else { "CMD" };
            let duration = |name: &str| match flags.get(name) {
                Some(text) => {
                    words::nanoseconds(&text, name).map(|given| Some(given).filter(|given| *given != 0))
                }
                None => Ok(None),
            };
            let retries = match flags.get("retries") {
                Some(text) => match text.parse::<i64>() {
                    Ok(0) => None,
                    Ok(number) if number > 0 => Some(number),
                    Ok(number) => return Err(invalid(format!("--retries cannot be negative ({number})"))),
                    _ => return Err(invalid(format!("--retries cannot be {text:?}"))),
                },
                None => None,
            };
            Ok(HealthConfig {
                test: Some([form.to_owned()].into_iter().chain(line.words).collect()),
                interval: duration("interval")?,
                timeout: duration("timeout")?,
                start_period: duration("start-period")?,
                start_interval: duration("start-interval")?,
                retries,
            })
        }
        other => Err(invalid(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    }
}

fn command_line(rest: &str) -> Result<CommandLine> {
    Ok(match json_list(rest)? {
        Some(words) => CommandLine { words, shell: false },
        None => CommandLine { words: vec![rest.to_owned()], shell: true },
    })
}

/// Whether an error is one of cutting text into words, before anybody asks what they mean.
pub(crate) fn is_of_words(error: &str) -> bool {
    error.starts_with("Syntax error - ")
        || error.ends_with(" must have two arguments")
        || [words::NOT_STRINGS, "unterminated heredoc"].contains(&error)
}

fn stage_name(name: &str) -> Result<String> {
    let lower = name.to_ascii_lowercase();
    let fits = lower.starts_with(|c: char| c.is_ascii_lowercase())
        && lower.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    match fits {
        true => Ok(lower),
        false => Err(invalid(format!(
            "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
        ))),
    }
}

/// `--name=value` before the arguments.
struct Flags {
    flags: Vec<(String, String)>,
}

impl Flags {
    fn get(&self, name: &str) -> Option<String> {
        self.flags.iter().find(|(flag, _)| flag == name).map(|(_, value)| value.clone())
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.flags.iter().filter(|(flag, _)| flag == name).map(|(_, value)| value.clone()).collect()
    }

    /// A flag that is on by being there.
    fn switch(&self, name: &str) -> Result<Option<bool>> {
        match self.get(name).as_deref() {
            None => Ok(None),
            Some("" | "true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(invalid(format!("expecting boolean value for flag {name}, not: {other}"))),
        }
    }

    fn only(&self, known: &[&str]) -> Result<()> {
        self.check(known, &[], &[])
    }

    /// Some may be there several times, some need no value.
    fn check(&self, known: &[&str], repeated: &[&str], switches: &[&str]) -> Result<()> {
        let mut seen: Vec<&str> = Vec::new();
        for (flag, value) in &self.flags {
            let flag = flag.as_str();
            if !known.contains(&flag) {
                return Err(invalid(format!("unknown flag: {flag}{}", meant(flag, known))));
            }
            if seen.contains(&flag) && !repeated.contains(&flag) {
                return Err(invalid(format!("duplicate flag specified: {flag}")));
            }
            if value.is_empty() && !switches.contains(&flag) {
                return Err(invalid(format!("missing a value on flag: {flag}")));
            }
            seen.push(flag);
        }
        Ok(())
    }
}

/// The nearest of what would have been right, as a question.
fn meant(given: &str, known: &[&str]) -> String {
    nearest(given, known).map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

/// The nearest of some names, if one is near.
pub(crate) fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let nearest = known.iter().map(|name| (distance(given, name), *name)).min_by_key(|(far, _)| *far);
    nearest.filter(|(far, _)| *far < 3).map(|(_, name)| name)
}

/// How many letters have to change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = corner + usize::from(left != right);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

/// Networks that a `RUN` may ask for.
const NETWORKS: [&str; 3] = ["default", "none", "host"];

/// Takes the flags off.
fn flags(rest: &str, escape: char) -> Result<(Vec<(String, String)>, &str)> {
    let mut rest = rest.trim_start();
    let mut found = Vec::new();
    while let Some(flag) = rest.strip_prefix("--") {
        let end = words::end_of_word(flag, escape);
        let (flag, more) = flag.split_at(end);
        rest = more.trim_start();
        if flag.is_empty() {
            break;
        }
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        found.push((name.to_owned(), unquoted(value)));
    }
    Ok((found, rest))
}

/// Quotes around a whole value are not part of it.
fn unquoted(value: &str) -> String {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
        .to_owned()
}

fn invalid(message: impl Into<String>) -> EngineError {
    EngineError::invalid(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Instruction>> {
        parse(&Dockerfile::parse(text)?)
    }

    fn command(text: &str) -> Command {
        parsed(text).unwrap().remove(0).command
    }

    #[test]
    fn instructions_are_read() {
        assert_eq!(
            command("from --platform=linux/amd64 a:1 AS Base"),
            Command::From {
                image: "a:1".into(),
                name: Some("base".into()),
                platform: Some("linux/amd64".into())
            }
        );
        assert_eq!(
            command("ENV a=1 b=\"x y\" c=q\\ r"),
            Command::Env(vec![
                ("a".into(), "1".into()),
                ("b".into(), "\"x y\"".into()),
                ("c".into(), "q\\ r".into())
            ])
        );
        assert_eq!(command("ENV key some  words"), Command::Env(vec![("key".into(), "some  words".into())]));
        assert_eq!(
            command("CMD [\"a\", \"b c\"]"),
            Command::Cmd(CommandLine { words: vec!["a".into(), "b c".into()], shell: false })
        );
        assert_eq!(
            command("CMD [\"a\"] b"),
            Command::Cmd(CommandLine { words: vec!["a".into()], shell: false })
        );
        assert_eq!(command("CMD [a]"), Command::Cmd(CommandLine { words: vec!["[a]".into()], shell: true }));
        let Command::Transfer(copy) = command("COPY --from=x --chown=1:2 a b\\ c /d/") else { panic!() };
        assert_eq!((copy.sources, copy.destination.as_str()), (vec!["a".into(), "b\\ c".into()], "/d/"));
        let Command::Healthcheck(check) = command("HEALTHCHECK --interval=1m30s --retries=2 CMD true") else {
            panic!()
        };
        assert_eq!((check.interval, check.retries), (Some(90_000_000_000), Some(2)));
        assert_eq!(check.test.unwrap(), ["CMD-SHELL", "true"]);
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, error) in [
            (
                "FROM a\nFOO b",
                "dockerfile parse error on line 2: unknown instruction: FOO (did you mean FROM?)",
            ),
            (
                "FROM a\nfrum b",
                "dockerfile parse error on line 2: unknown instruction: frum (did you mean from?)",
            ),
            ("FROM a b", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
            ("SHELL sh", "dockerfile parse error on line 1: SHELL requires the arguments to be in JSON form"),
            ("COPY --bogus=1 a b", "dockerfile parse error on line 1: unknown flag: bogus"),
            ("ENV x", "dockerfile parse error on line 1: ENV must have two arguments"),
            (
                "CMD [\"a\", 1]",
                "dockerfile parse error on line 1: when using JSON array syntax, arrays must be comprised of \
                 strings only",
            ),
        ] {
            assert_eq!(parsed(text).unwrap_err().to_string(), error);
        }
        assert!(parsed("COPY --link=maybe a b").is_err() && parsed("COPY --from a b").is_err());
    }

    #[test]
    fn flags_may_repeat_or_have_no_value() {
        let Command::Run { flags, .. } = command("RUN --mount=type=tmpfs,target=/a --mount=target=/b true")
        else {
            panic!()
        };
        assert_eq!(flags.mounts, ["type=tmpfs,target=/a", "target=/b"]);
        let Command::Transfer(copy) = command("COPY --link --parents=false --exclude=a --exclude=b x y")
        else {
            panic!()
        };
        assert_eq!((copy.link, copy.parents, copy.exclude), (true, false, vec!["a".into(), "b".into()]));
    }
}
