//! `docker top`: the container's processes with the columns of `ps -ef`, read from /proc.

use engine::ports::ProcessInfo;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use nix::unistd::{SysconfVar, sysconf};
use std::{collections::BTreeMap, fs, io};

/// One entry per process that is still there.
pub(super) fn read(pids: impl IntoIterator<Item = i32>) -> io::Result<Vec<ProcessInfo>> {
    let ticks =
        sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100).max(1);
    let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096);
    let machine = Machine {
        ticks,
        page,
        boot: boot_time(&fs::read_to_string("/proc/stat")?),
        memory: memory(&fs::read_to_string("/proc/meminfo")?),
        users: users(&fs::read_to_string("/etc/passwd").unwrap_or_default()),
    };
    Ok(pids.into_iter().filter_map(|pid| one(pid, &machine)).collect())
}

/// What the numbers of a process are related to.
struct Machine {
    /// Clock ticks a second.
    ticks: u64,
    /// Bytes.
    page: u64,
    /// Seconds since the epoch.
    boot: u64,
    /// KiB.
    memory: u64,
    users: BTreeMap<u32, String>,
}

fn one(pid: i32, machine: &Machine) -> Option<ProcessInfo> {
    let Machine { ticks, boot, users, .. } = machine;
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
    let resident = stat.resident_pages * machine.page / 1024;
    let elapsed = u64::try_from(Timestamp::now().duration_since(started).as_secs()).unwrap_or(0);
    let columns = BTreeMap::from([
        ("USER", users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())),
        ("UID", uid.to_string()),
        ("PID", pid.to_string()),
        ("PPID", stat.parent.to_string()),
        ("C", (cpu * 100).checked_div(elapsed).unwrap_or(0).min(99).to_string()),
        ("STIME", start_column(started)),
        ("TTY", tty(stat.tty)),
        ("TIME", format!("{:02}:{:02}:{:02}", cpu / 3600, cpu / 60 % 60, cpu % 60)),
        ("MINUTES", format!("{}:{:02}", cpu / 60, cpu % 60)),
        ("PGID", stat.group.to_string()),
        ("SID", stat.session.to_string()),
        ("%CPU", tenths(stat.cpu * 1000 / ticks, elapsed)),
        ("%MEM", tenths(resident * 1000, machine.memory)),
        ("VSZ", (stat.virtual_bytes / 1024).to_string()),
        ("RSS", resident.to_string()),
        ("STAT", stat.flags(pid)),
        ("S", stat.state.to_string()),
        ("ELAPSED", elapsed_column(elapsed)),
        ("SECONDS", elapsed.to_string()),
        ("NI", stat.nice.to_string()),
        ("NLWP", stat.threads.to_string()),
        ("COMM", stat.name),
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

/// A share in percent with one digit; `part` is a thousand times what it stands for.
fn tenths(part: u64, whole: u64) -> String {
    let share = part.checked_div(whole).unwrap_or(0);
    format!("{}.{}", share / 10, share % 10)
}

/// `[[days-]hours:]minutes:seconds`
fn elapsed_column(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let rest = format!("{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => rest,
        (0, hours) => format!("{hours:02}:{rest}"),
        (days, hours) => format!("{days}-{hours:02}:{rest}"),
    }
}

fn memory(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
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
    state: char,
    group: i32,
    session: i32,
    foreground: i32,
    nice: i64,
    threads: u64,
    virtual_bytes: u64,
    resident_pages: u64,
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
            state: fields.first()?.chars().next()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            foreground: fields.get(5)?.parse().ok()?,
            nice: fields.get(16)?.parse().ok()?,
            threads: number(17)?,
            virtual_bytes: number(20)?,
            resident_pages: number(21)?,
        })
    }

    /// `Ssl+` and the like, as procps has it.
    fn flags(&self, pid: i32) -> String {
        let mut flags = String::from(self.state);
        for (holds, flag) in [
            (self.nice < 0, '<'),
            (self.nice > 0, 'N'),
            (self.session == pid, 's'),
            (self.threads > 1, 'l'),
            (self.foreground == self.group, '+'),
        ] {
            if holds {
                flags.push(flag);
            }
        }
        flags
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
        assert_eq!((stat.name.as_str(), stat.parent, stat.cpu, stat.start), ("a) b (c", 1, 200, 1234));
        assert_eq!((stat.flags(42), stat.virtual_bytes, stat.resident_pages), ("Ss+".to_owned(), 5, 6));
        assert_eq!(
            (elapsed_column(59), elapsed_column(90_061)),
            ("00:59".to_owned(), "1-01:01:01".to_owned())
        );
        assert_eq!(tenths(12_345, 100), "12.3");
        assert_eq!(tty(stat.tty), "pts/1");
        assert_eq!(tty(0), "?");
    }

    #[test]
    fn we_find_ourselves() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let found = read([pid]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].columns["PID"], pid.to_string());
        assert!(
            ["USER", "%CPU", "%MEM", "STAT", "COMM"].iter().all(|key| found[0].columns.contains_key(key))
        );
    }
}
