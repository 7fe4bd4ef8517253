//! Cuts a stream into lines. A line longer than [`PIECE`] is cut as dockerd's copier cuts it.

use super::{Entry, Partial, Source};
use jiff::Timestamp;
use std::borrow::Cow;

/// Longest piece of a line in one entry.
pub(super) const PIECE: usize = 16 * 1024;

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a piece whose end has not come yet.
    begun: Vec<u8>,
    /// The long line that is being cut: its id, and how many pieces it has had.
    long: Option<(String, u32)>,
}

impl Lines {
    /// Gives every piece that `chunk` completes to `entry`.
    pub(super) fn cut(
        &mut self,
        source: Source,
        time: Timestamp,
        mut chunk: &[u8],
        mut entry: impl FnMut(Entry<'_>),
    ) {
        while !chunk.is_empty() {
            let room = PIECE - self.begun.len();
            let window = chunk.get(..room).unwrap_or(chunk);
            let (end, next, ends_line) = match memchr::memchr(b'\n', window) {
                Some(end) => (end, end + 1, true),
                None if window.len() == room => (room, room, false),
                None => {
                    self.begun.extend_from_slice(window);
                    return;
                }
            };
            let partial = self.piece(time, ends_line);
            if self.begun.is_empty() {
                entry(Entry { source, time, text: Cow::Borrowed(&window[..end]), partial });
            } else {
                // A character may be cut in two.
                self.begun.extend_from_slice(&window[..end]);
                entry(Entry { source, time, text: Cow::Borrowed(&self.begun), partial });
                self.begun.clear();
            }
            chunk = &chunk[next..];
        }
    }

    /// An unfinished line at the end of the stream: as for dockerd a piece whose last one never came, so
    /// that nobody is shown a newline that was not there.
    pub(super) fn rest(&mut self, source: Source, time: Timestamp) -> Option<Entry<'static>> {
        if self.begun.is_empty() {
            return None;
        }
        let partial = self.piece(time, false);
        self.long = None;
        Some(Entry { source, time, text: Cow::Owned(std::mem::take(&mut self.begun)), partial })
    }

    /// What the next piece is of a long line; `None` for a short one.
    fn piece(&mut self, time: Timestamp, last: bool) -> Option<Partial> {
        if self.long.is_none() && last {
            return None;
        }
        let (id, pieces) = self.long.get_or_insert_with(|| (format!("{:032x}", time.as_nanosecond()), 0));
        *pieces += 1;
        let partial = Partial { id: id.clone(), ordinal: *pieces, last };
        if last {
            self.long = None;
        }
        Some(partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(lines: &mut Lines, chunks: &[&[u8]]) -> Vec<(String, Option<(u32, bool)>)> {
        let mut found = Vec::new();
        let mut add = |entry: &Entry<'_>| {
            let text = String::from_utf8_lossy(&entry.text).into_owned();
            found.push((text, entry.partial.as_ref().map(|p| (p.ordinal, p.last))));
        };
        for chunk in chunks {
            lines.cut(Source::Stdout, Timestamp::now(), chunk, |entry| add(&entry));
        }
        if let Some(rest) = lines.rest(Source::Stdout, Timestamp::now()) {
            add(&rest);
        }
        found
    }

    #[test]
    fn lines_are_joined_across_reads_and_characters_stay_whole() {
        let mut lines = Lines::default();
        let found = cut(&mut lines, &[b"one\ntw", b"o\n\nth\xc3", b"\xa4ree"]);
        let whole = |text: &str| (text.to_owned(), None);
        let unfinished = ("thäree".to_owned(), Some((1, false)));
        assert_eq!(found, [whole("one"), whole("two"), whole(""), unfinished]);
    }

    #[test]
    fn long_lines_are_numbered_pieces() {
        let mut long = vec![b'x'; 2 * PIECE + 10];
        long.extend_from_slice(b"\nshort\n");
        for size in [1000, PIECE, 3 * PIECE] {
            let chunks: Vec<&[u8]> = long.chunks(size).collect();
            let found = cut(&mut Lines::default(), &chunks);
            let shape: Vec<_> = found.iter().map(|(text, partial)| (text.len(), *partial)).collect();
            assert_eq!(
                shape,
                [(PIECE, Some((1, false))), (PIECE, Some((2, false))), (10, Some((3, true))), (5, None)]
            );
        }
    }
}
