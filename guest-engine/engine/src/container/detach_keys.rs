//! The key sequence that detaches a client from a terminal, ctrl-p ctrl-q unless it asks for another.

use crate::error::{EngineError, Result};

/// Finds the sequence in what a client types. Bytes that might begin it are held back until the next
/// ones decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys {
    sequence: Vec<u8>,
    matched: usize,
}

impl Default for DetachKeys {
    fn default() -> Self {
        Self { sequence: vec![ctrl(b'p'), ctrl(b'q')], matched: 0 }
    }
}

impl DetachKeys {
    /// Reads `ctrl-x,y,ctrl-@`; the empty text is the default.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let sequence = text
            .split(',')
            .map(|key| match key.as_bytes() {
                [byte] => Some(*byte),
                _ => match key.strip_prefix("ctrl-").map(str::as_bytes) {
                    Some([c @ (b'a'..=b'z' | b'A'..=b'Z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => {
                        Some(ctrl(*c))
                    }
                    _ => None,
                },
            })
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(|| EngineError::invalid(format!("Invalid detach keys ({text}) provided")))?;
        Ok(Self { sequence, matched: 0 })
    }

    /// Takes what was typed; answers what the process may see, and whether the client detached. Nothing
    /// behind the sequence is passed on.
    pub fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for &byte in typed {
            if self.sequence.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    self.matched = 0;
                    return (passed, true);
                }
                continue;
            }
            passed.extend(self.sequence.iter().take(self.matched));
            self.matched = 0;
            if self.sequence.first() == Some(&byte) {
                self.matched = 1;
            } else {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

fn ctrl(key: u8) -> u8 {
    key.to_ascii_uppercase() & 0x1f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_sequence_detaches_also_across_reads() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.filter(b"ls\n\x10"), (b"ls\n".to_vec(), false));
        assert_eq!(keys.filter(b"\x11rest"), (Vec::new(), true));
    }

    #[test]
    fn a_false_start_reaches_the_process() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.filter(b"\x10\x10x"), (b"\x10\x10x".to_vec(), false));
        assert_eq!(keys.filter(b"\x10\x10\x11"), (b"\x10".to_vec(), true));
    }

    #[test]
    fn other_sequences() {
        assert_eq!(DetachKeys::parse("ctrl-@,a,ctrl-\\").unwrap().sequence, [0, b'a', 0x1c]);
        for bad in ["ctrl-", "ctrl-1", "ab", "a,,b", "ctrl-ä"] {
            assert!(DetachKeys::parse(bad).is_err(), "{bad}");
        }
    }
}
