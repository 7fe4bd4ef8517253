//! What a container uses and what runs in it.

use super::{Containers, actor::runtime_failed, not_running};
use crate::{
    error::{EngineError, Result},
    ports::Stats,
};
use futures_util::{Stream, stream};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How often a stream of statistics reports.
const INTERVAL: Duration = Duration::from_secs(1);

/// Resource use at one moment, and at the one before.
#[derive(Clone, Debug)]
pub struct Sample {
    pub id: String,
    pub name: String,
    pub read: SystemTime,
    /// `None` while the container has no process.
    pub stats: Option<Stats>,
    /// The sample before; `None` for the first.
    pub before: Option<(SystemTime, Stats)>,
}

/// A process table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top {
    pub titles: Vec<String>,
    pub processes: Vec<Vec<String>>,
}

impl Containers {
    /// One sample. Unless `at_once`, it takes one interval, so that rates can be told.
    pub async fn stats_once(&self, key: &str, at_once: bool) -> Result<Sample> {
        let id = self.inspect(key)?.record.id.clone();
        let mut sample = self.sample(&id, None).await?;
        if !at_once && let Some(stats) = sample.stats.take() {
            let before = Some((sample.read, stats));
            tokio::time::sleep(INTERVAL).await;
            sample = self.sample(&id, before).await?;
        }
        Ok(sample)
    }

    /// A sample every interval, until the container is removed. While it does not run, samples are empty.
    pub fn stats_stream(&self, key: &str) -> Result<impl Stream<Item = Sample> + Send + use<>> {
        let id = self.inspect(key)?.record.id.clone();
        let containers = self.clone();
        Ok(stream::unfold((containers, id, None, true), async |(containers, id, before, first)| {
            if !first {
                tokio::time::sleep(INTERVAL).await;
            }
            let sample = containers.sample(&id, before).await.ok()?;
            let next = sample.stats.clone().map(|stats| (sample.read, stats));
            Some((sample, (containers, id, next, false)))
        }))
    }

    async fn sample(&self, id: &str, before: Option<(SystemTime, Stats)>) -> Result<Sample> {
        let handle = self.shared.index.find(id)?;
        let record = handle.record();
        let stats = match handle.running_task() {
            Ok(task) => task.stats().await.ok(),
            Err(_) => None,
        };
        Ok(Sample { id: id.to_owned(), name: record.name.clone(), read: SystemTime::now(), stats, before })
    }

    /// The container's processes, in the columns that `ps` prints for `arguments` (`-ef`, or `-o` with a
    /// list).
    pub async fn top(&self, key: &str, arguments: &str) -> Result<Top> {
        let handle = self.shared.index.find(key)?;
        let columns = columns(arguments)?;
        let task = handle.running_task().map_err(|_| not_running(&handle.id))?;
        let processes = Arc::clone(&task).processes().await.map_err(runtime_failed)?;
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

/// Title of each column and the column of `ps -ef` that fills it.
fn columns(arguments: &str) -> Result<Vec<(&'static str, &'static str)>> {
    const FULL: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let list = match words.as_slice() {
        [] | ["-ef" | "ef" | "-fe" | "-e" | "-A" | "-f"] => {
            return Ok(FULL.map(|title| (title, title)).to_vec());
        }
        ["-o" | "o" | "-eo" | "-Ao", list @ ..] if !list.is_empty() => list.join(","),
        [joined] if joined.starts_with("-o") && joined.len() > 2 => joined[2..].to_owned(),
        _ => {
            return Err(EngineError::not_implemented(format!(
                "ps arguments \"{arguments}\" are not supported: use \"-ef\" or \"-o\" with a list of columns"
            )));
        }
    };
    let columns: Result<Vec<_>> = list
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| {
            Ok(match name {
                "user" | "euser" | "ruser" => ("USER", "UID"),
                "uid" | "euid" | "ruid" => ("UID", "UID"),
                "pid" => ("PID", "PID"),
                "ppid" => ("PPID", "PPID"),
                "c" => ("C", "C"),
                "stime" | "start" => ("STIME", "STIME"),
                "tty" | "tt" | "tname" => ("TTY", "TTY"),
                "time" | "cputime" => ("TIME", "TIME"),
                "cmd" | "args" => ("CMD", "CMD"),
                "command" => ("COMMAND", "CMD"),
                _ => {
                    return Err(EngineError::invalid(format!(
                        "error: unknown user-defined format specifier \"{name}\""
                    )));
                }
            })
        })
        .collect();
    let columns = columns?;
    if columns.iter().all(|(_, source)| *source != "PID") {
        return Err(EngineError::invalid("Couldn't find PID field in ps output"));
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_follow_the_arguments() {
        assert_eq!(columns("").unwrap().len(), 8);
        assert_eq!(columns("-ef").unwrap()[1], ("PID", "PID"));
        assert_eq!(columns("-o pid,user,args").unwrap(), [("PID", "PID"), ("USER", "UID"), ("CMD", "CMD")]);
        assert_eq!(columns("-opid,cmd").unwrap(), [("PID", "PID"), ("CMD", "CMD")]);
        assert_eq!(columns("-o cmd").unwrap_err().to_string(), "Couldn't find PID field in ps output");
        assert!(columns("--forest").is_err() && columns("-o nope,pid").is_err());
    }
}
