//! `docker top`: the container's processes in the columns that `ps` would print for the arguments.

use super::{Containers, actor::runtime_failed, not_running};
use crate::error::{EngineError, Result};
use std::sync::Arc;

/// A process table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top {
    pub titles: Vec<String>,
    pub processes: Vec<Vec<String>>,
}

/// Its title, and the column of [`crate::ports::ProcessInfo`] that fills it.
type Column = (&'static str, &'static str);

/// `ps -ef`
const FULL: [Column; 8] = [
    ("UID", "USER"),
    ("PID", "PID"),
    ("PPID", "PPID"),
    ("C", "C"),
    ("STIME", "STIME"),
    ("TTY", "TTY"),
    ("TIME", "TIME"),
    ("CMD", "CMD"),
];

/// `ps aux`
const USERS: [Column; 11] = [
    ("USER", "USER"),
    ("PID", "PID"),
    ("%CPU", "%CPU"),
    ("%MEM", "%MEM"),
    ("VSZ", "VSZ"),
    ("RSS", "RSS"),
    ("TTY", "TTY"),
    ("STAT", "STAT"),
    ("START", "STIME"),
    ("TIME", "MINUTES"),
    ("COMMAND", "CMD"),
];

/// What `-o` knows: name, title and column.
const NAMED: [(&str, Column); 40] = [
    ("user", ("USER", "USER")),
    ("euser", ("EUSER", "USER")),
    ("uname", ("USER", "USER")),
    ("ruser", ("RUSER", "USER")),
    ("uid", ("UID", "UID")),
    ("euid", ("EUID", "UID")),
    ("ruid", ("RUID", "UID")),
    ("pid", ("PID", "PID")),
    ("tgid", ("TGID", "PID")),
    ("ppid", ("PPID", "PPID")),
    ("pgid", ("PGID", "PGID")),
    ("pgrp", ("PGRP", "PGID")),
    ("sid", ("SID", "SID")),
    ("sess", ("SESS", "SID")),
    ("c", ("C", "C")),
    ("pcpu", ("%CPU", "%CPU")),
    ("%cpu", ("%CPU", "%CPU")),
    ("pmem", ("%MEM", "%MEM")),
    ("%mem", ("%MEM", "%MEM")),
    ("vsz", ("VSZ", "VSZ")),
    ("vsize", ("VSZ", "VSZ")),
    ("rss", ("RSS", "RSS")),
    ("rssize", ("RSS", "RSS")),
    ("stat", ("STAT", "STAT")),
    ("state", ("S", "S")),
    ("s", ("S", "S")),
    ("stime", ("STIME", "STIME")),
    ("start_time", ("START", "STIME")),
    ("etime", ("ELAPSED", "ELAPSED")),
    ("etimes", ("ELAPSED", "SECONDS")),
    ("tty", ("TT", "TTY")),
    ("tname", ("TTY", "TTY")),
    ("time", ("TIME", "TIME")),
    ("cputime", ("TIME", "TIME")),
    ("ni", ("NI", "NI")),
    ("nice", ("NI", "NI")),
    ("nlwp", ("NLWP", "NLWP")),
    ("comm", ("COMMAND", "COMM")),
    ("cmd", ("CMD", "CMD")),
    ("args", ("COMMAND", "CMD")),
];

impl Containers {
    /// The container's processes. `arguments` are `ps`'s: `-ef`, `aux`, or `-o` with a list of columns.
    pub async fn top(&self, key: &str, arguments: &str) -> Result<Top> {
        let handle = self.shared.index.find(key)?;
        let task = handle.running_task().map_err(|_| not_running(&handle.id))?;
        let columns = columns(arguments)?;
        let processes = Arc::clone(&task).processes().await.map_err(runtime_failed)?;
        self.shared.announce(&handle.record(), "top", &[]);
        let cell = |process: &crate::ports::ProcessInfo, source: &str| {
            process.columns.get(source).cloned().unwrap_or_else(|| "-".to_owned())
        };
        Ok(Top {
            processes: processes
                .iter()
                .map(|process| columns.iter().map(|(_, source)| cell(process, source)).collect())
                .collect(),
            titles: columns.into_iter().map(|(title, _)| title.to_owned()).collect(),
        })
    }
}

fn columns(arguments: &str) -> Result<Vec<Column>> {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let (options, list) = match words.split_first() {
        None => return Ok(FULL.to_vec()),
        Some((first, rest)) => {
            let bare = first.trim_start_matches('-');
            match bare.split_once('o') {
                // `-o LIST`, `-eo LIST`, `-oLIST`
                Some((options, joined)) => (options, Some([&[joined], rest].concat().join(","))),
                None if rest.is_empty() => (bare, None),
                None => return Err(unsupported(arguments)),
            }
        }
    };
    let Some(list) = list else {
        let only = |letters: &str| options.chars().all(|letter| letters.contains(letter));
        return if options.contains('u') && only("auxw") {
            Ok(USERS.to_vec())
        } else if only("efAw") {
            Ok(FULL.to_vec())
        } else {
            Err(unsupported(arguments))
        };
    };
    let mut columns = Vec::new();
    for name in list.split(',').filter(|name| !name.is_empty()) {
        let column = match name {
            "command" | "ucmd" => ("COMMAND", "CMD"),
            "tt" => ("TT", "TTY"),
            "start" | "lstart" => ("STARTED", "STIME"),
            _ => NAMED.iter().find(|(known, _)| *known == name).map(|(_, column)| *column).ok_or_else(
                || {
                    EngineError::system(format!(
                        "ps: error: unknown user-defined format specifier \"{name}\""
                    ))
                },
            )?,
        };
        columns.push(column);
    }
    if columns.iter().all(|(_, source)| *source != "PID") {
        return Err(EngineError::system("Couldn't find PID field in ps output"));
    }
    Ok(columns)
}

fn unsupported(arguments: &str) -> EngineError {
    EngineError::not_implemented(format!(
        "ps arguments \"{arguments}\" are not supported: use \"-ef\", \"aux\" or \"-o\" with a list of columns"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_follow_the_arguments() {
        assert_eq!(columns("").unwrap(), FULL);
        assert_eq!(columns("-ef").unwrap()[1], ("PID", "PID"));
        assert_eq!(columns("aux").unwrap(), USERS);
        let list = [("PID", "PID"), ("USER", "USER"), ("COMMAND", "COMM")];
        for arguments in ["-o pid,user,comm", "-opid,user,comm", "-eo pid user comm", "o pid,user,comm"] {
            assert_eq!(columns(arguments).unwrap(), list, "{arguments}");
        }
        assert_eq!(columns("-o cmd").unwrap_err().to_string(), "Couldn't find PID field in ps output");
        for bad in ["--sort=rss", "-ef extra", "-Z"] {
            assert!(columns(bad).is_err(), "{bad}");
        }
        assert!(columns("-o nope,pid").unwrap_err().to_string().contains("specifier \"nope\""));
    }
}
