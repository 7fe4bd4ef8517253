//! The only writer to the terminal: talk goes to stderr, data to stdout.

use std::io::{self, Write};

/// Says what is being done.
pub(crate) fn step(text: &str) {
    // A closed stderr is no reason to stop building.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says what is odd but not fatal.
pub(crate) fn warning(text: &str) {
    step(&format!("Warning: {text}"));
}

/// Prints an error, the chain of its causes, and last the hints that any of them gave.
pub(crate) fn failure(error: &anyhow::Error) {
    step(&failure_text(error));
}

fn failure_text(error: &anyhow::Error) -> String {
    let messages: Vec<String> = error.chain().map(ToString::to_string).collect();
    let (hints, talk): (Vec<_>, Vec<_>) = messages
        .iter()
        .enumerate()
        .flat_map(|(depth, message)| message.lines().map(move |line| (depth, line)))
        .partition(|(_, line)| line.starts_with("Hint: "));
    let said = talk.into_iter().map(|(depth, line)| match depth {
        0 => format!("Error: {line}"),
        _ => format!("Caused by: {line}"),
    });
    said.chain(hints.into_iter().map(|(_, line)| line.to_owned())).collect::<Vec<_>>().join("\n")
}

/// Writes the result of a command.
pub(crate) fn data(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `images manifest … | head` is not a failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// `12.3 MB`, decimal.
pub(crate) fn megabytes(bytes: u64) -> String {
    let tenths = (bytes + 50_000) / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_come_last() {
        let error = anyhow::anyhow!("No such file").context("Could not read it\nHint: Install it");
        assert_eq!(
            failure_text(&error),
            "Error: Could not read it\nCaused by: No such file\nHint: Install it"
        );
    }

    #[test]
    fn megabytes_round_to_a_tenth() {
        assert_eq!(megabytes(12_345_678), "12.3 MB");
        assert_eq!(megabytes(950_000), "1.0 MB");
        assert_eq!(megabytes(0), "0.0 MB");
    }
}
