//! The part of the Linux kernel's FUSE protocol that both ends of a shared folder look at: how messages are
//! framed, what they ask for, and the sizes that the guest agrees with its kernel.
//!
//! A message begins with its length (u32). A request goes on with opcode (u32), number (u64), node (u64), user,
//! group and process (u32 each) and four bytes more; an answer with a negated error (i32) and the request's
//! number. Everything is in the byte order of the guest, which is little-endian.

/// Bytes of a request before its own.
pub const REQUEST_HEADER: usize = 40;
/// Bytes of an answer before its own.
pub const ANSWER_HEADER: usize = 16;
/// The most that one request reads or writes. Big enough that its own cost does not count, small enough that
/// several are on their way at once.
pub const MOST_DATA: usize = 256 << 10;
/// The longest message: data with its header, or names of the longest kind.
pub const LONGEST_MESSAGE: usize = MOST_DATA + 4096;
/// The number of the root of every mount.
pub const ROOT: u64 = 1;

/// An answer that nobody asked for, by its "error": attributes of a node are not what they were.
pub const INVALIDATE_INODE: i32 = 2;

/// What requests ask for.
pub mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKNOD: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const SETXATTR: u32 = 21;
    pub const GETXATTR: u32 = 22;
    pub const LISTXATTR: u32 = 23;
    pub const REMOVEXATTR: u32 = 24;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const ACCESS: u32 = 34;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const READDIRPLUS: u32 = 44;
    pub const RENAME2: u32 = 45;
    pub const LSEEK: u32 = 46;
    pub const COPY_FILE_RANGE: u32 = 47;
}

/// The header of a request, as far as anybody here cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub length: usize,
    pub opcode: u32,
    pub unique: u64,
    pub node: u64,
}

/// Reads it; `None` when the message is too short to have one.
pub fn request_header(message: &[u8]) -> Option<RequestHeader> {
    let header = message.get(..REQUEST_HEADER)?;
    Some(RequestHeader {
        length: u32_at(header, 0) as usize,
        opcode: u32_at(header, 4),
        unique: u64_at(header, 8),
        node: u64_at(header, 16),
    })
}

/// The header of an answer of `length` bytes in all.
pub fn answer_header(length: usize, error: i32, unique: u64) -> [u8; ANSWER_HEADER] {
    let mut header = [0; ANSWER_HEADER];
    // No message is longer than LONGEST_MESSAGE.
    header[..4].copy_from_slice(&(length as u32).to_le_bytes());
    header[4..8].copy_from_slice(&error.to_le_bytes());
    header[8..].copy_from_slice(&unique.to_le_bytes());
    header
}

/// Length, error and number of an answer.
pub fn parse_answer_header(header: &[u8; ANSWER_HEADER]) -> (usize, i32, u64) {
    (u32_at(header, 0) as usize, u32_at(header, 4) as i32, u64_at(header, 8))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back() {
        assert_eq!(parse_answer_header(&answer_header(80, -2, 7)), (80, -2, 7));
        let mut message = [0; REQUEST_HEADER];
        message[0] = 40;
        message[4] = 3;
        message[8] = 9;
        message[16] = 1;
        let header = request_header(&message).unwrap();
        assert_eq!(header, RequestHeader { length: 40, opcode: opcode::GETATTR, unique: 9, node: ROOT });
        assert_eq!(request_header(&message[1..]), None);
    }
}
