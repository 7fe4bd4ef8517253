//! A FUSE mount, and what is agreed with the kernel about it.
//!
//! Nobody asks the keeper for that agreement: a mount is there before its keeper and after it.

use guest_contract::fuse::{ANSWER_HEADER, MOST_DATA, REQUEST_HEADER, answer_header};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::fd::AsRawFd,
    path::Path,
};

/// The kernel's protocol, and the version of it that we know.
const MAJOR: u32 = 7;
const MINOR: u32 = 38;
/// What the kernel may read ahead of a program, in bytes: several requests at once.
const READ_AHEAD: u32 = 2 << 20;
/// Requests that nobody waits for, at most, and from how many on the kernel slows down.
const BACKGROUND: u16 = 64;
const CONGESTED: u16 = 48;
const PAGE: usize = 4096;

mod flag {
    pub(super) const ASYNC_READ: u32 = 1;
    /// `O_TRUNC` comes with the opening.
    pub(super) const ATOMIC_TRUNCATE: u32 = 1 << 3;
    pub(super) const BIG_WRITES: u32 = 1 << 5;
    /// Cached contents go when a file's time or size changes on the other side.
    pub(super) const AUTO_INVALIDATE: u32 = 1 << 12;
    pub(super) const READDIRPLUS: u32 = 1 << 13;
    pub(super) const READDIRPLUS_AUTO: u32 = 1 << 14;
    pub(super) const ASYNC_DIRECT: u32 = 1 << 15;
    pub(super) const PARALLEL_FOLDERS: u32 = 1 << 18;
    pub(super) const MAX_PAGES: u32 = 1 << 22;
    pub(super) const CACHE_SYMLINKS: u32 = 1 << 23;
    /// Without it every write would ask for an attribute first.
    pub(super) const KILL_PRIVILEGES: u32 = 1 << 28;
}
const WANTED: u32 = flag::ASYNC_READ
    | flag::ATOMIC_TRUNCATE
    | flag::BIG_WRITES
    | flag::AUTO_INVALIDATE
    | flag::READDIRPLUS
    | flag::READDIRPLUS_AUTO
    | flag::ASYNC_DIRECT
    | flag::PARALLEL_FOLDERS
    | flag::MAX_PAGES
    | flag::CACHE_SYMLINKS
    | flag::KILL_PRIVILEGES;

/// Mounts a folder; the kernel's messages come out of the file.
pub(super) fn mount_folder(path: &Path, read_only: bool) -> io::Result<File> {
    clear(path)?;
    fs::create_dir_all(path)?;
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
    // Who may do what is for the user's computer to say, where it is done.
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,max_read={MOST_DATA}",
        device.as_raw_fd()
    );
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
    if read_only {
        flags |= MsFlags::MS_RDONLY;
    }
    mount(Some("machine"), path, Some("fuse.machine"), flags, Some(options.as_str()))?;
    Ok(device)
}

/// Takes away what a process before us has mounted there: it does not answer any more, and looks like no folder.
fn clear(path: &Path) -> io::Result<()> {
    loop {
        match fs::symlink_metadata(path).map_err(|error| error.raw_os_error()) {
            Err(Some(error)) if error == Errno::ENOTCONN as i32 => umount2(path, MntFlags::MNT_DETACH)?,
            _ => return Ok(()),
        }
    }
}

/// The answer to the kernel's first message.
pub(super) fn agree(message: &[u8]) -> Vec<u8> {
    let field = |number: usize| {
        let bytes = message.get(REQUEST_HEADER + number * 4..REQUEST_HEADER + number * 4 + 4);
        bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
    };
    let (minor, flags) = (field(1), field(3));
    let unique = guest_contract::fuse::request_header(message).map_or(0, |header| header.unique);
    const LENGTH: usize = ANSWER_HEADER + 64;
    let mut answer = answer_header(LENGTH, 0, unique).to_vec();
    for number in [MAJOR, MINOR.min(minor), READ_AHEAD, WANTED & flags] {
        answer.extend_from_slice(&number.to_le_bytes());
    }
    answer.extend_from_slice(&BACKGROUND.to_le_bytes());
    answer.extend_from_slice(&CONGESTED.to_le_bytes());
    answer.extend_from_slice(&(MOST_DATA as u32).to_le_bytes());
    // Times are exact to the nanosecond.
    answer.extend_from_slice(&1_u32.to_le_bytes());
    answer.extend_from_slice(&((MOST_DATA / PAGE) as u16).to_le_bytes());
    answer.resize(LENGTH, 0);
    answer
}

/// Lets the kernel read ahead as far as was agreed: it begins with less.
pub(super) fn read_ahead(path: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    // id, parent, device, root, where. The last one is on top.
    let found = mounts.lines().rev().find_map(|line| {
        let mut words = line.split(' ');
        let device = words.nth(2)?;
        (words.nth(1)? == escaped(path.to_str()?)).then(|| device.to_owned())
    });
    let device = found.ok_or(io::ErrorKind::NotFound)?;
    let setting = format!("/sys/class/bdi/{device}/read_ahead_kb");
    File::options().write(true).open(setting)?.write_all((READ_AHEAD >> 10).to_string().as_bytes())
}

/// As the kernel writes paths there.
fn escaped(path: &str) -> String {
    path.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('\n', "\\012")
}

/// A random id for a mount.
pub(super) fn draw_id() -> io::Result<String> {
    let mut bytes = [0_u8; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_contract::fuse::{opcode, parse_answer_header};

    #[test]
    fn only_what_the_kernel_offers_is_agreed() {
        let mut message = vec![0; REQUEST_HEADER];
        message[..4].copy_from_slice(&56_u32.to_le_bytes());
        message[4..8].copy_from_slice(&opcode::INIT.to_le_bytes());
        message[8] = 2;
        for field in [7, 31, 131_072, flag::ASYNC_READ | flag::MAX_PAGES | 2_u32] {
            message.extend_from_slice(&field.to_le_bytes());
        }
        let answer = agree(&message);
        let header: [u8; ANSWER_HEADER] = answer[..ANSWER_HEADER].try_into().unwrap();
        assert_eq!(parse_answer_header(&header), (80, 0, 2));
        assert_eq!(answer.len(), 80);
        assert_eq!(answer[20..24], 31_u32.to_le_bytes());
        assert_eq!(answer[28..32], (flag::ASYNC_READ | flag::MAX_PAGES).to_le_bytes());
    }
}
