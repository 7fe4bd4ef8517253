//! Resource use of a container, from its cgroup and from /proc.

use crate::cgroup::{Cgroup, value};
use engine::ports::{NetworkStats, Stats};
use std::{collections::BTreeMap, fs, io, path::Path, thread};

/// Nanoseconds of one `USER_HZ` tick, which is 1/100 s in every file the kernel shows.
const TICK: u64 = 10_000_000;

/// Reads it. A controller that is missing leaves its numbers at zero.
pub(super) fn read(cgroup: &Cgroup, pid: u32) -> io::Result<Stats> {
    let mut stats = Stats {
        system_cpu: system_cpu(&fs::read_to_string("/proc/stat")?),
        online_cpus: thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
        ..Stats::default()
    };
    match cgroup.unified() {
        Some(folder) => unified(&folder, &mut stats),
        None => legacy(cgroup, &mut stats),
    }
    let machine =
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_memory(&text)).unwrap_or(0);
    if stats.memory_limit == 0 || stats.memory_limit > machine {
        stats.memory_limit = machine;
    }
    // The interfaces of its namespace; the process may just have ended.
    if let Ok(text) = fs::read_to_string(format!("/proc/{pid}/net/dev")) {
        stats.networks = networks(&text);
    }
    Ok(stats)
}

fn unified(folder: &Path, stats: &mut Stats) {
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let cpu = text("cpu.stat");
    let micros = |key| value(&cpu, key).unwrap_or(0).saturating_mul(1000);
    stats.cpu_total = micros("usage_usec");
    stats.cpu_user = micros("user_usec");
    stats.cpu_system = micros("system_usec");
    stats.throttled_time = micros("throttled_usec");
    stats.periods = value(&cpu, "nr_periods").unwrap_or(0);
    stats.throttled_periods = value(&cpu, "nr_throttled").unwrap_or(0);
    stats.memory_usage = number(&text("memory.current")).unwrap_or(0);
    stats.memory_limit = number(&text("memory.max")).unwrap_or(0);
    stats.memory_stat = keyed(&text("memory.stat"));
    stats.pids = number(&text("pids.current")).unwrap_or(0);
    stats.pids_limit = number(&text("pids.max"));
    for word in text("io.stat").split_whitespace() {
        match word.split_once('=') {
            Some(("rbytes", bytes)) => stats.block_read += bytes.parse().unwrap_or(0),
            Some(("wbytes", bytes)) => stats.block_write += bytes.parse().unwrap_or(0),
            _ => {}
        }
    }
}

fn legacy(cgroup: &Cgroup, stats: &mut Stats) {
    let text = |controller: &str, name: &str| {
        let folder = cgroup.controller(controller);
        folder.and_then(|folder| fs::read_to_string(folder.join(name)).ok()).unwrap_or_default()
    };
    stats.cpu_total = number(&text("cpuacct", "cpuacct.usage")).unwrap_or(0);
    let times = text("cpuacct", "cpuacct.stat");
    stats.cpu_user = value(&times, "user").unwrap_or(0).saturating_mul(TICK);
    stats.cpu_system = value(&times, "system").unwrap_or(0).saturating_mul(TICK);
    let cpu = text("cpu", "cpu.stat");
    stats.periods = value(&cpu, "nr_periods").unwrap_or(0);
    stats.throttled_periods = value(&cpu, "nr_throttled").unwrap_or(0);
    stats.throttled_time = value(&cpu, "throttled_time").unwrap_or(0);
    stats.memory_usage = number(&text("memory", "memory.usage_in_bytes")).unwrap_or(0);
    stats.memory_limit = number(&text("memory", "memory.limit_in_bytes")).unwrap_or(0);
    stats.memory_stat = keyed(&text("memory", "memory.stat"));
    stats.pids = number(&text("pids", "pids.current")).unwrap_or(0);
    stats.pids_limit = number(&text("pids", "pids.max"));
    for line in text("blkio", "blkio.throttle.io_service_bytes").lines() {
        let mut words = line.split_whitespace().skip(1);
        if let (Some(kind), Some(bytes)) =
            (words.next(), words.next().and_then(|bytes| bytes.parse::<u64>().ok()))
        {
            match kind {
                "Read" => stats.block_read += bytes,
                "Write" => stats.block_write += bytes,
                _ => {}
            }
        }
    }
}

/// A file with one number; `None` for `max`.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn keyed(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// User, nice, system, idle, iowait, irq, softirq and steal, as moby adds them up.
fn system_cpu(stat: &str) -> u64 {
    let Some(line) = stat.lines().find(|line| line.starts_with("cpu ")) else { return 0 };
    let ticks: u64 =
        line.split_whitespace().skip(1).take(8).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    ticks.saturating_mul(TICK)
}

fn machine_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn networks(text: &str) -> BTreeMap<String, NetworkStats> {
    let one = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let n: Vec<u64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            _,
            _,
            _,
            _,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
            ..,
        ] = n[..]
        else {
            return None;
        };
        let stats = NetworkStats {
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
        };
        Some((name.trim().to_owned(), stats))
    };
    text.lines().filter_map(one).filter(|(name, _)| name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_interface_without_loopback() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
                    eth0: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n";
        let found = networks(text);
        assert_eq!(found.len(), 1);
        let eth0 = found["eth0"];
        assert_eq!((eth0.rx_bytes, eth0.rx_dropped, eth0.tx_bytes, eth0.tx_dropped), (10, 4, 50, 8));
    }

    #[test]
    fn machine_numbers_have_their_units() {
        assert_eq!(system_cpu("cpu  1 2 3 4 0 0 0 0 9 9\ncpu0 1 2\n"), 10 * TICK);
        assert_eq!(machine_memory("MemTotal:  2 kB\n"), Some(2048));
        assert_eq!(number("max\n"), None);
    }
}
