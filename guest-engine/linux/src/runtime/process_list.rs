//! `docker top`: the container's processes with the columns of `ps -ef`, read from /proc.

use engine::ports::ProcessInfo;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use nix::unistd::{SysconfVar, sysconf};
use std::{collections::BTreeMap, fs, io};

/// One entry per process that is still there.
pub(super) fn read(pids: impl IntoIterator<Item = i32>) -> io::Result<Vec<ProcessInfo>> {
    let ticks =
        sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100).max(1);
    let boot = boot_time(&fs::read_to_string("/proc/stat")?);
    let users = users(&fs::read_to_string("/etc/passwd").unwrap_or_default());
    Ok(pids.into_iter().filter_map(|pid| one(pid, ticks, boot, &users)).collect())
}

fn one(pid: i32, ticks: u64, boot: u64, users: &BTreeMap<u32, String>) -> Option<ProcessInfo> {
    let stat = Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let uid: u32 =
        status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut command = String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_owned();
    if command.is_empty() {
        command = format!("[{}]", stat.name);
    }
    let started = Timestamp::from_second(i64::try_from(boot + stat.start / ticks).ok()?).ok()?;
    let cpu = stat.cpu / ticks;
    let elapsed = u64::try_from(Timestamp::now().duration_since(started).as_secs()).unwrap_or(0);
    let columns = BTreeMap::from([
        ("UID", users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())),
        ("PID", pid.to_string()),
        ("PPID", stat.parent.to_string()),
        ("C", (cpu * 100).checked_div(elapsed).unwrap_or(0).min(99).to_string()),
        ("STIME", start_column(started)),
        ("TTY", tty(stat.tty)),
        ("TIME", format!("{:02}:{:02}:{:02}", cpu / 3600, cpu / 60 % 60, cpu % 60)),
        ("CMD", command),
    ]);
    Some(ProcessInfo { columns })
}

/// `HH:MM` within a day, else month and day, as procps has it.
fn start_column(started: Timestamp) -> String {
    let recent = Timestamp::now().duration_since(started) < SignedDuration::from_hours(24);
    let zoned = started.to_zoned(TimeZone::UTC);
    zoned.strftime(if recent { "%H:%M" } else { "%b%d" }).to_string()
}

fn tty(number: u32) -> String {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
    match major {
        0 => "?".to_owned(),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        _ => "?".to_owned(),
    }
}

/// What is needed of `/proc/PID/stat`; times in clock ticks.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    parent: i32,
    tty: u32,
    cpu: u64,
    start: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name may hold spaces and parentheses.
        let (before, rest) = text.rsplit_once(')')?;
        let name = before.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            name,
            parent: fields.get(1)?.parse().ok()?,
            tty: fields.get(4)?.parse::<i32>().ok()?.cast_unsigned(),
            cpu: number(11)? + number(12)?,
            start: number(19)?,
        })
    }
}

fn boot_time(stat: &str) -> u64 {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0)
}

fn users(passwd: &str) -> BTreeMap<u32, String> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    // The first of several names wins, as getpwuid has it.
    passwd.lines().rev().filter_map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_parsed() {
        let text = "42 (a) b (c) S 1 42 42 34817 42 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1234 5 6";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat, Stat { name: "a) b (c".to_owned(), parent: 1, tty: 34817, cpu: 200, start: 1234 });
        assert_eq!(tty(stat.tty), "pts/1");
        assert_eq!(tty(0), "?");
    }

    #[test]
    fn we_find_ourselves() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let found = read([pid]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].columns["PID"], pid.to_string());
        assert_eq!(found[0].columns.len(), 8);
    }
}
