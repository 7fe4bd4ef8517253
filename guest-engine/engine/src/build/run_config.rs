//! What instructions without files or processes do to an image's configuration, and what the history says
//! about them.

use super::instruction::{Command, CommandLine};
use crate::error::{EngineError, Result};
use bollard_stubs::models::{HealthConfig, ImageConfig};

/// The shell of commands that are not in exec form.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// What programs are looked for in when the image does not say.
pub(crate) const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The command as it is run: behind the configured shell unless in exec form.
pub(crate) fn resolved(line: &CommandLine, config: &ImageConfig) -> Vec<String> {
    if line.shell {
        shell(config).into_iter().chain(line.words.clone()).collect()
    } else {
        line.words.clone()
    }
}

/// The shell in force.
pub(crate) fn shell(config: &ImageConfig) -> Vec<String> {
    match &config.shell {
        Some(shell) if !shell.is_empty() => shell.clone(),
        _ => SHELL.map(str::to_owned).to_vec(),
    }
}

/// Applies an instruction whose words are expanded. Says what the history is to say; `cmd_set` remembers
/// whether this stage has set a command of its own.
pub(crate) fn apply(config: &mut ImageConfig, command: &Command, cmd_set: &mut bool) -> Result<String> {
    Ok(match command {
        Command::Env(pairs) => {
            let env = config.env.get_or_insert_default();
            let mut said = String::from("ENV");
            for (name, value) in pairs {
                let entry = format!("{name}={value}");
                said.push(' ');
                said.push_str(&entry);
                let known =
                    env.iter_mut().find(|old| old.split_once('=').is_some_and(|(key, _)| key == name));
                match known {
                    Some(old) => *old = entry,
                    None => env.push(entry),
                }
            }
            said
        }
        Command::Label(pairs) => {
            let labels = config.labels.get_or_insert_default();
            let mut said = String::from("LABEL");
            for (name, value) in pairs {
                said.push_str(&format!(" {name}={value}"));
                labels.insert(name.clone(), value.clone());
            }
            said
        }
        Command::Workdir(path) => {
            let path = absolute(config.working_dir.as_deref().unwrap_or_default(), path);
            config.working_dir = Some(path.clone());
            format!("WORKDIR {path}")
        }
        Command::User(user) => {
            config.user = Some(user.clone());
            format!("USER {user}")
        }
        Command::Cmd(line) => {
            let words = resolved(line, config);
            let said = format!("CMD {}", quoted_list(&words));
            *cmd_set = !line.words.is_empty();
            config.cmd = Some(words);
            config.args_escaped = None;
            said
        }
        Command::Entrypoint(line) => {
            let words = resolved(line, config);
            let said = format!("ENTRYPOINT {}", quoted_list(&words));
            // An empty list is none at all.
            config.entrypoint = Some(words).filter(|words| !words.is_empty());
            // An inherited command belonged to the inherited entrypoint.
            if !*cmd_set {
                config.cmd = None;
            }
            said
        }
        Command::Expose(ports) => {
            let exposed = config.exposed_ports.get_or_insert_default();
            for port in ports {
                exposed.extend(exposed_ports(port)?);
            }
            exposed.sort();
            exposed.dedup();
            format!("EXPOSE {}", ports.join(" "))
        }
        Command::Volume(volumes) => {
            let all = config.volumes.get_or_insert_default();
            all.extend(volumes.iter().cloned());
            all.sort();
            all.dedup();
            format!("VOLUME [{}]", volumes.join(" "))
        }
        Command::StopSignal(signal) => {
            crate::container::signal::parse(signal)?;
            config.stop_signal = Some(signal.clone());
            format!("STOPSIGNAL {signal}")
        }
        Command::Shell(words) => {
            config.shell = Some(words.clone());
            format!("SHELL [{}]", words.join(" "))
        }
        Command::Healthcheck(check) => {
            let said = format!("HEALTHCHECK {}", described(check));
            config.healthcheck = Some(check.clone());
            said
        }
        Command::OnBuild(trigger) => {
            config.on_build.get_or_insert_default().push(trigger.clone());
            format!("ONBUILD {trigger}")
        }
        Command::Maintainer(name) => format!("MAINTAINER {name}"),
        Command::Arg(args) => {
            let words: Vec<String> = args
                .iter()
                .map(|(name, value)| match value {
                    Some(value) => format!("{name}={value}"),
                    None => name.clone(),
                })
                .collect();
            format!("ARG {}", words.join(" "))
        }
        Command::From { .. } | Command::Run { .. } | Command::Transfer(_) => {
            return Err(EngineError::invalid("this instruction needs a build"));
        }
    })
}

/// A path seen from a working folder, cleaned as Go's `filepath.Join` does.
pub(crate) fn absolute(folder: &str, path: &str) -> String {
    let full = if path.starts_with('/') { path.to_owned() } else { format!("{folder}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in full.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `80`, `80/udp`, `8000-8002`, also behind an address and a host port, of which only the container's count.
fn exposed_ports(spec: &str) -> Result<Vec<String>> {
    let bad = || EngineError::invalid(format!("Invalid containerPort: {spec}"));
    let (ports, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(EngineError::invalid(format!("Invalid proto: {protocol}")));
    }
    let ports = ports.rsplit(':').next().unwrap_or(ports);
    let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
    let (low, high): (u16, u16) = (low.parse().map_err(|_| bad())?, high.parse().map_err(|_| bad())?);
    if high < low {
        return Err(bad());
    }
    Ok((low..=high).map(|port| format!("{port}/{protocol}")).collect())
}

/// Ports as Go prints a set of them.
pub(crate) fn exposed_in_history(ports: &[String]) -> Result<String> {
    let mut all = Vec::new();
    for port in ports {
        all.extend(exposed_ports(port)?);
    }
    all.sort();
    all.dedup();
    let all: Vec<String> = all.into_iter().map(|port| format!("{port}:{{}}")).collect();
    Ok(format!("EXPOSE map[{}]", all.join(" ")))
}

/// Go's `%q` of a list.
fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// Go's `%q` of the structure: what dockerd's history says.
fn described(check: &HealthConfig) -> String {
    let seconds = |nanoseconds: Option<i64>| go_duration(nanoseconds.unwrap_or(0));
    let retries = match check.retries.unwrap_or(0) {
        printable @ 32..=126 => u8::try_from(printable).map(char::from).unwrap_or('?').to_string(),
        other => format!("\\x{other:02x}"),
    };
    format!(
        "&{{{} {:?} {:?} {:?} {:?} '{retries}'}}",
        quoted_list(check.test.as_deref().unwrap_or_default()),
        seconds(check.interval),
        seconds(check.timeout),
        seconds(check.start_period),
        seconds(check.start_interval),
    )
}

/// Go's way to print a duration of whole milliseconds.
fn go_duration(nanoseconds: i64) -> String {
    let milliseconds = nanoseconds / 1_000_000;
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    if milliseconds < 1000 {
        return format!("{milliseconds}ms");
    }
    let (hours, minutes) = (milliseconds / 3_600_000, milliseconds / 60_000 % 60);
    let (seconds, rest) = (milliseconds / 1000 % 60, milliseconds % 1000);
    let fraction =
        if rest == 0 { String::new() } else { format!(".{rest:03}").trim_end_matches('0').to_owned() };
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, minutes) => format!("{minutes}m{seconds}{fraction}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{dockerfile::Dockerfile, instruction::parse};

    fn applied(text: &str) -> (ImageConfig, Vec<String>) {
        let mut config = ImageConfig { cmd: Some(vec!["old".into()]), ..ImageConfig::default() };
        let mut cmd_set = false;
        let said = parse(&Dockerfile::parse(text).unwrap())
            .unwrap()
            .iter()
            .map(|instruction| apply(&mut config, &instruction.command, &mut cmd_set).unwrap())
            .collect();
        (config, said)
    }

    #[test]
    fn history_says_what_dockerd_says() {
        let (config, said) = applied(
            "ENV a=1 b=2\nENV a=3\nWORKDIR /x\nWORKDIR y/../z\nENTRYPOINT [\"e\"]\nCMD run it\nEXPOSE 81 80/udp\n\
             VOLUME /d\nHEALTHCHECK --interval=5m CMD true\nONBUILD RUN x",
        );
        assert_eq!(
            said,
            [
                "ENV a=1 b=2",
                "ENV a=3",
                "WORKDIR /x",
                "WORKDIR /x/z",
                "ENTRYPOINT [\"e\"]",
                "CMD [\"/bin/sh\" \"-c\" \"run it\"]",
                "EXPOSE 80/udp 81",
                "VOLUME [/d]",
                "HEALTHCHECK &{[\"CMD-SHELL\" \"true\"] \"5m0s\" \"0s\" \"0s\" \"0s\" '\\x00'}",
                "ONBUILD RUN x",
            ]
        );
        assert_eq!(config.env.unwrap(), ["a=3", "b=2"]);
        assert_eq!(config.exposed_ports.unwrap(), ["80/udp", "81/tcp"]);
        assert_eq!(applied("ENTRYPOINT x").0.cmd, None);
    }
}
