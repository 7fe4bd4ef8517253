//! One health check: an exec whose output and end are waited for.

use super::ProbeResult;
use crate::{
    container::Containers,
    error::{EngineError, Result},
};
use bollard_stubs::models::ExecConfig;
use futures_util::StreamExt;
use std::time::{Duration, SystemTime};

/// How much of the output is kept, as in moby.
const LONGEST_OUTPUT: usize = 4096;
/// How long a check may be dying before it is left to itself.
const DYING: Duration = Duration::from_secs(5);

/// Runs `command` in the container for `timeout` at most.
pub(super) async fn run(
    containers: &Containers,
    container: &str,
    command: &[String],
    timeout: Duration,
) -> ProbeResult {
    let start = SystemTime::now();
    let (exit_code, output) = match attempt(containers, container, command, timeout).await {
        Ok(end) => end,
        Err(error) => (-1, error.to_string()),
    };
    ProbeResult { start, end: SystemTime::now(), exit_code, output }
}

async fn attempt(
    containers: &Containers,
    container: &str,
    command: &[String],
    timeout: Duration,
) -> Result<(i32, String)> {
    let config = ExecConfig {
        cmd: Some(command.to_vec()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let id = containers.exec_create(container, config).await?;
    let mut output = Output::default();
    let result = match tokio::time::timeout(timeout, follow(containers, &id, &mut output)).await {
        Ok(Ok(code)) => Ok((code, output.into_text())),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            if !containers.exec_kill(&id, DYING).await {
                tracing::warn!(container, "A health check that took too long does not die");
            }
            Ok((-1, format!("Health check exceeded timeout ({})", go_duration(timeout))))
        }
    };
    containers.exec_forget(&id);
    result
}

async fn follow(containers: &Containers, id: &str, output: &mut Output) -> Result<i32> {
    let started = containers.exec_start(id, false, None).await?;
    if let Some(mut started) = started {
        while let Some(frame) = started.streams.output.next().await {
            match frame {
                Ok(frame) => output.take(&frame.data),
                Err(error) => return Err(EngineError::system("Could not read the output").because(error)),
            }
        }
    }
    containers.exec_wait(id).await
}

/// The beginning of what was written.
#[derive(Debug, Default)]
struct Output {
    text: Vec<u8>,
    cut: bool,
}

impl Output {
    fn take(&mut self, data: &[u8]) {
        let room = LONGEST_OUTPUT - self.text.len();
        self.text.extend_from_slice(data.get(..room).unwrap_or(data));
        self.cut |= data.len() > room;
    }

    fn into_text(self) -> String {
        let mut text = String::from_utf8_lossy(&self.text).into_owned();
        if self.cut {
            text.push_str("...");
        }
        text
    }
}

/// `1.5s`, `30s`, `250ms`, `1m30s`: as Go prints durations.
fn go_duration(duration: Duration) -> String {
    let trimmed = |value: f64, unit: &str| format!("{value}{unit}");
    let (seconds, fraction) = (duration.as_secs(), f64::from(duration.subsec_nanos()) / 1e9);
    match seconds {
        0 if fraction < 0.001 => trimmed(fraction * 1e6, "µs"),
        0 => trimmed(fraction * 1e3, "ms"),
        _ => {
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = trimmed(f64::from(u32::try_from(seconds % 60).unwrap_or(0)) + fraction, "s");
            match (hours, minutes) {
                (0, 0) => rest,
                (0, _) => format!("{minutes}m{rest}"),
                _ => format!("{hours}h{minutes}m{rest}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut() {
        let mut output = Output::default();
        output.take(&[b'x'; 4000]);
        assert!(!output.cut);
        output.take(&[b'y'; 200]);
        output.take(b"more");
        let text = output.into_text();
        assert!(text.len() == LONGEST_OUTPUT + 3 && text.ends_with("y..."));
    }

    #[test]
    fn durations_read_like_gos() {
        for (milliseconds, text) in
            [(250, "250ms"), (1500, "1.5s"), (30_000, "30s"), (90_000, "1m30s"), (3_600_000, "1h0m0s")]
        {
            assert_eq!(go_duration(Duration::from_millis(milliseconds)), text);
        }
    }
}
