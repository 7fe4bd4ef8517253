//! The words after the machine's name, read as `ssh` reads them: its options first, then the command.

use crate::{
    error::{CommandError, ErrorKind},
    ssh::PortForward,
};
use std::net::{IpAddr, Ipv4Addr};

/// Options that change nothing here, because the connection is ours and always so: compression, quietness,
/// addresses, verbosity.
const IDLE: &str = "46aCknqvx";
/// Options with a value that say how to reach and trust a host, which we know better.
const IDLE_WITH_VALUE: &str = "Fiolp";

/// What is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `-t` or `-T`.
    pub(super) tty: Option<bool>,
    /// `-N`.
    pub(super) no_command: bool,
    /// `-L`.
    pub(super) forwards: Vec<PortForward>,
    /// A shell when it is empty.
    pub(super) command: Vec<String>,
}

pub(super) fn parse(words: Vec<String>) -> Result<Wanted, CommandError> {
    let mut wanted = Wanted::default();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next_if(|word| word.starts_with('-') && word.len() > 1) {
        if word == "--" {
            break;
        }
        for (at, letter) in word[1..].char_indices() {
            match letter {
                't' => wanted.tty = Some(true),
                'T' => wanted.tty = Some(false),
                'N' => wanted.no_command = true,
                idle if IDLE.contains(idle) => {}
                valued if valued == 'L' || IDLE_WITH_VALUE.contains(valued) => {
                    let rest = &word[1 + at + letter.len_utf8()..];
                    let value = if rest.is_empty() { words.next() } else { Some(rest.to_owned()) };
                    let value = value.ok_or_else(|| usage(format!("-{valued} needs a value")))?;
                    if valued == 'L' {
                        wanted.forwards.push(forward(&value)?);
                    }
                    break;
                }
                other => {
                    return Err(usage(format!("machine ssh has no -{other}"))
                        .hinted("It has -t, -T, -N and -L [ADDRESS:]PORT:HOST:PORT"));
                }
            }
        }
    }
    wanted.command = words.collect();
    Ok(wanted)
}

/// `[ADDRESS:]PORT:HOST:PORT`; what has colons itself is in brackets.
fn forward(text: &str) -> Result<PortForward, CommandError> {
    let wrong = || usage(format!("-L takes [ADDRESS:]PORT:HOST:PORT, not {text:?}"));
    let mut bracketed = false;
    let parts = text.split(|letter| {
        bracketed = (bracketed || letter == '[') && letter != ']';
        letter == ':' && !bracketed
    });
    let parts: Vec<&str> = parts.map(unbracketed).collect();
    let (address, port, host, host_port) = match parts.as_slice() {
        [port, host, host_port] => (IpAddr::from(Ipv4Addr::LOCALHOST), port, host, host_port),
        [address, port, host, host_port] => {
            let address = match *address {
                "localhost" => Ipv4Addr::LOCALHOST.into(),
                "*" | "" => Ipv4Addr::UNSPECIFIED.into(),
                address => address.parse().map_err(|_| wrong())?,
            };
            (address, port, host, host_port)
        }
        _ => return Err(wrong()),
    };
    Ok(PortForward {
        local: (address, port.parse().map_err(|_| wrong())?).into(),
        host: (*host).to_owned(),
        port: host_port.parse().map_err(|_| wrong())?,
    })
}

fn unbracketed(part: &str) -> &str {
    part.strip_prefix('[').and_then(|part| part.strip_suffix(']')).unwrap_or(part)
}

fn usage(message: String) -> CommandError {
    CommandError::new(ErrorKind::Usage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Wanted, CommandError> {
        parse(text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn options_stand_before_the_command_only() {
        let said = |text: &str| words(text).unwrap();
        assert_eq!(said("ls -la").command, ["ls", "-la"]);
        assert_eq!(said("-- ls -t").command, ["ls", "-t"]);
        assert_eq!(said("-C echo -- x").command, ["echo", "--", "x"]);
        assert_eq!(
            (said("-tt top").tty, said("-T").tty, said("top -t").tty),
            (Some(true), Some(false), None)
        );
        assert_eq!(said("-o StrictHostKeyChecking=no -oX=y -p 22 id").command, ["id"]);
        let forwards = said("-NL 8080:localhost:80 -L *:1:db:2");
        assert!(forwards.no_command && forwards.command.is_empty());
        let [first, second] = &forwards.forwards[..] else { panic!("not two") };
        assert_eq!(
            (first.local.to_string().as_str(), first.host.as_str(), first.port),
            ("127.0.0.1:8080", "localhost", 80)
        );
        assert_eq!((second.local.to_string().as_str(), second.host.as_str()), ("0.0.0.0:1", "db"));
        let [forward] = &said("-L [::1]:80:[fd00::2]:81").forwards[..] else { panic!("not one") };
        assert_eq!((forward.local.to_string().as_str(), forward.host.as_str()), ("[::1]:80", "fd00::2"));
        assert_eq!(forward.port, 81);
        for wrong in ["-R 1:a:2", "-A", "-L", "-L x", "-L 1:a:b", "-L 1:fd00::2:3", "-L [1:a:2"] {
            assert_eq!(words(wrong).unwrap_err().kind, ErrorKind::Usage, "{wrong}");
        }
    }
}
