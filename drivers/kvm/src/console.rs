//! The guest's console log: kept from power-on to power-on, the boot before beside it.

use crate::{files, folder::file_error};
use machine_drivers::DriverError;
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// How much of the log's end is looked at.
const TAIL: u64 = 256 * 1024;
/// What Linux prints last when it goes down in an orderly way, at a level that `quiet` lets through.
const FAREWELLS: [&str; 4] =
    ["reboot: Power down", "reboot: Restarting system", "reboot: System halted", "System halted instead"];
/// How many lines may follow the farewell.
const FAREWELL_LINES: usize = 5;

/// Makes room for the next boot's log.
pub(crate) fn rotate(directory: &Path) -> Result<(), DriverError> {
    let path = directory.join(files::CONSOLE);
    match fs::rename(&path, directory.join(files::CONSOLE_BEFORE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error("rename", &path)(error)),
        _ => Ok(()),
    }
}

/// The last lines, newest last, without control characters; empty when there was no boot yet.
pub(crate) fn tail(directory: &Path, lines: usize) -> Result<Vec<String>, DriverError> {
    let path = directory.join(files::CONSOLE);
    let read = || -> io::Result<Vec<u8>> {
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            file => file?,
        };
        let start = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![];
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(file_error("read", &path))?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<_> = text.lines().map(plain).filter(|line| !line.trim().is_empty()).collect();
    Ok(all[all.len().saturating_sub(lines)..].to_vec())
}

/// Whether the guest went down in an orderly way by itself: the kernel said so at the very end.
pub(crate) fn said_farewell(directory: &Path) -> bool {
    let lines = tail(directory, FAREWELL_LINES).unwrap_or_default();
    lines.iter().any(|line| FAREWELLS.iter().any(|farewell| line.contains(farewell)))
        && !lines.iter().any(|line| line.contains("Kernel panic"))
}

/// The guest must not steer the user's terminal.
fn plain(line: &str) -> String {
    line.chars().filter(|character| !character.is_control() || *character == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_plain_lines_and_survive_rotation() {
        let folder = tempfile::tempdir().unwrap();
        assert!(tail(folder.path(), 3).unwrap().is_empty());
        rotate(folder.path()).unwrap();
        fs::write(folder.path().join(files::CONSOLE), b"one\r\n\r\ntwo \x1b[31m\xff\r\nthree").unwrap();
        assert_eq!(tail(folder.path(), 2).unwrap(), ["two [31m\u{fffd}", "three"]);
        assert_eq!(tail(folder.path(), usize::MAX).unwrap().len(), 3);
        rotate(folder.path()).unwrap();
        assert!(tail(folder.path(), 3).unwrap().is_empty());
        assert!(folder.path().join(files::CONSOLE_BEFORE).exists());
    }

    #[test]
    fn an_orderly_end_is_told_from_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let says = |text: &str| {
            fs::write(folder.path().join(files::CONSOLE), text).unwrap();
            said_farewell(folder.path())
        };
        assert!(says("booted\n[    9.1] reboot: Power down\r\n"));
        assert!(!says("booted\n"));
        assert!(!says("[ 3.0] Kernel panic - not syncing\n[ 4.0] reboot: Restarting system\n"));
        assert!(!says(&format!("reboot: Power down\n{}", "still here\n".repeat(9))));
    }
}
