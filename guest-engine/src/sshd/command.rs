//! Recognises `docker system dial-stdio`, with which the Docker client asks for the engine's socket
//! over SSH (`DOCKER_HOST=ssh://…`): it is answered here, no `docker` is needed in the guest.

/// Whether the command asks for the engine's socket: `docker`, with any options of its own, or the
/// same inside `sh -c '…'`.
pub(super) fn is_dial_stdio(command: &str) -> bool {
    let Some(words) = split(command) else { return false };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [shell, "-c", script] if is_program(shell, "sh") => is_dial_stdio(script),
        [program, options @ .., "system", "dial-stdio"] if is_program(program, "docker") => {
            are_options(options)
        }
        _ => false,
    }
}

fn is_program(word: &str, name: &str) -> bool {
    word.rsplit('/').next() == Some(name)
}

/// `--debug`, `-H VALUE`, `--host=VALUE`, `--tls VALUE`…: a word that is not an option must follow one.
fn are_options(words: &[&str]) -> bool {
    let mut value_may_follow = false;
    words.iter().all(|word| {
        let option = word.starts_with('-');
        let good = option || value_may_follow;
        value_may_follow = option && !word.contains('=');
        good
    })
}

/// Splits as a shell does, as far as quotes go. What only a shell can do (`;`, `$`, `|`…) is not
/// for us.
fn split(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(character),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (_, '\\') => word.get_or_insert_default().push(characters.next()?),
            (_, '$' | '`') | (None, ';' | '|' | '&' | '<' | '>' | '(' | ')' | '\n') => return None,
            (None, ' ' | '\t') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_clients_send_is_recognised() {
        for command in [
            "docker system dial-stdio",
            "/usr/bin/docker system dial-stdio",
            "docker --debug system dial-stdio",
            "docker -H unix:///var/run/docker.sock system dial-stdio",
            "docker --host=unix:///var/run/docker.sock system dial-stdio",
            "'docker' '--host' 'unix:///var/run/docker.sock' 'system' 'dial-stdio'",
            "sh -c 'docker system dial-stdio'",
        ] {
            assert!(is_dial_stdio(command), "{command}");
        }
    }

    #[test]
    fn everything_else_is_for_the_shell() {
        for command in [
            "",
            "docker ps",
            "docker run busybox system dial-stdio",
            "docker system dial-stdio; reboot",
            "docker system dial-stdio | tee log",
            "echo docker system dial-stdio",
            "docker $X system dial-stdio",
            "docker system 'dial-stdio",
        ] {
            assert!(!is_dial_stdio(command), "{command}");
        }
    }
}
