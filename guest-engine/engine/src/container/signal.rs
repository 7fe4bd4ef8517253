//! Signals as users name them: `TERM`, `SIGTERM`, `15`, `RTMIN+3`.

use crate::error::{EngineError, Result};

pub(crate) const SIGKILL: i32 = 9;
pub(crate) const SIGTERM: i32 = 15;
/// First and last real-time signal as libc leaves them to programs.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Linux's numbers on the architectures that we build for.
const NAMES: [(&str, i32); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The signal's number, or a 400 in moby's words.
pub(crate) fn parse(text: &str) -> Result<i32> {
    let unknown = || match text.parse::<u32>() {
        Ok(number) if number > 0 => {
            EngineError::invalid(format!("the linux daemon does not support signal {number}"))
        }
        _ => EngineError::invalid(format!("invalid signal: {text}")),
    };
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=RTMAX).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        _ => rest.strip_prefix(sign)?.parse::<i32>().ok(),
    };
    name.strip_prefix("RTMIN")
        .and_then(|rest| offset(rest, '+').and_then(|n| RTMIN.checked_add(n)))
        .or_else(|| {
            name.strip_prefix("RTMAX").and_then(|rest| offset(rest, '-').and_then(|n| RTMAX.checked_sub(n)))
        })
        .filter(|number| (RTMIN..=RTMAX).contains(number))
        .ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_real_time_signals() {
        for (text, number) in
            [("TERM", 15), ("sigkill", 9), ("1", 1), ("SIGRTMIN+3", 37), ("RTMAX-2", 62), ("SIGRTMIN", 34)]
        {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "SIGNOPE", "RTMIN+99", "-9", "RTMIN-1"] {
            assert_eq!(parse(bad).unwrap_err().to_string(), format!("invalid signal: {bad}"));
        }
    }
}
