//! The files by which an init starts a service of ours: what they have in common, whichever service it is.

use super::service::shell_quoted;

/// A service, in no init's words.
#[derive(Debug)]
pub(super) struct Service<'a> {
    pub(super) name: &'a str,
    pub(super) description: &'a str,
    /// The engine's binary, or a link to it.
    pub(super) program: &'a str,
    pub(super) arguments: Vec<String>,
}

impl Service<'_> {
    /// A unit with these lines more in the sections `[Unit]` and `[Service]`.
    pub(super) fn systemd(&self, unit: &str, service: &str) -> String {
        let Self { name: _, description, program, arguments } = self;
        let words: String = arguments.iter().map(|word| format!(" {}", systemd_quoted(word))).collect();
        format!(
            "# Written by machine; changes are overwritten.\n\
             [Unit]\n\
             Description={description}\n\
             {unit}\n\
             [Service]\n\
             Type=notify\n\
             ExecStart={program}{words}\n\
             {service}\
             RestartSec=1\n\
             TasksMax=infinity\n\n\
             [Install]\n\
             WantedBy=multi-user.target\n"
        )
    }

    /// A script with these lines more. The program bounds its log, which no other program here does; what it says
    /// before it can is in the same file.
    pub(super) fn openrc(&self, more: &str) -> String {
        let Self { name, description, program, arguments } = self;
        let log = format!("/var/log/{name}.log");
        let words = ["--log-file", &log].into_iter().chain(arguments.iter().map(String::as_str));
        let words: Vec<String> = words.map(shell_quoted).collect();
        format!(
            "#!/sbin/openrc-run\n\
             # Written by machine; changes are overwritten.\n\
             description=\"{description}\"\n\
             supervisor=supervise-daemon\n\
             command={program}\n\
             command_args={arguments}\n\
             pidfile=/run/{name}.pid\n\
             output_log={log}\n\
             error_log={log}\n\
             respawn_delay=1\n\
             {more}",
            program = shell_quoted(program),
            // Read by a shell once more.
            arguments = shell_quoted(&words.join(" ")),
        )
    }
}

/// One word of `ExecStart`, which knows variables and specifiers.
fn systemd_quoted(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_either_init() {
        let word = r#"a "b" 50% $x it's \"#;
        let arguments = vec!["serve".to_owned(), word.to_owned()];
        let service = Service { name: "s", description: "A service", program: "/opt/x y", arguments };
        let unit = service.systemd("After=a\n", "Restart=always\n");
        assert!(unit.contains("Description=A service\nAfter=a\n\n[Service]\n"), "{unit}");
        assert!(unit.contains(r#" "serve" "a \"b\" 50%% $$x it's \\""#), "{unit}");
        // As OpenRC does with it.
        let script = format!("{}eval set -- \"$command_args\"; printf %s \"$4\"", service.openrc(""));
        let run = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(run.stdout).unwrap(), word);
    }
}
