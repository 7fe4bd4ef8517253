//! The lines `machine env` prints, in the tongue of each shell, as docker-machine had them.

use std::{fmt, str::FromStr};

/// A shell whose tongue we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// sh, bash, zsh and all that take `export`.
    Posix,
    /// fish.
    Fish,
    /// PowerShell.
    PowerShell,
    /// cmd.exe.
    Cmd,
    /// csh and tcsh.
    Tcsh,
    /// Emacs Lisp.
    Emacs,
}

/// The shell is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unknown shell {0:?}")]
pub struct UnknownShell(pub String);

/// What a shell shall do to one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The variable.
    pub name: &'static str,
    /// Its value; none unsets it.
    pub value: Option<String>,
}

impl Shell {
    /// The shell that the variable `SHELL` names; sh where it says nothing.
    pub fn of_login(shell: Option<&str>) -> Self {
        shell.and_then(|shell| shell.rsplit('/').next()?.parse().ok()).unwrap_or(Self::Posix)
    }

    /// The lines that make `changes`, and the comment that says how to have `command` run by the shell.
    pub fn script(self, changes: &[Change], command: &str) -> String {
        let mut script = String::new();
        let mut changes = changes.iter().peekable();
        while let Some(change) = changes.next() {
            script += &self.line(change);
            // `eval $(…)` without quotes makes one line of all: `unset A export B=c` would unset B.
            if self == Self::Posix
                && change.value.is_none()
                && changes.peek().is_some_and(|next| next.value.is_some())
            {
                script.push(';');
            }
            script.push('\n');
        }
        script + &self.usage(command)
    }

    fn line(self, Change { name, value }: &Change) -> String {
        match (self, value) {
            (Self::Posix, Some(value)) => format!("export {name}={}", posix_quoted(value)),
            (Self::Posix, None) => format!("unset {name}"),
            (Self::Fish, Some(value)) => format!("set -gx {name} {};", posix_quoted(value)),
            (Self::Fish, None) => format!("set -e {name};"),
            (Self::PowerShell, Some(value)) => format!("$Env:{name} = \"{}\"", powershell_escaped(value)),
            (Self::PowerShell, None) => format!("Remove-Item Env:\\\\{name}"),
            (Self::Cmd, Some(value)) => format!("SET {name}={value}"),
            (Self::Cmd, None) => format!("SET {name}="),
            (Self::Tcsh, Some(value)) => format!("setenv {name} {};", posix_quoted(value)),
            (Self::Tcsh, None) => format!("unsetenv {name};"),
            (Self::Emacs, Some(value)) => format!("(setenv \"{name}\" \"{}\")", lisp_escaped(value)),
            (Self::Emacs, None) => format!("(setenv \"{name}\" nil)"),
        }
    }

    fn usage(self, command: &str) -> String {
        let (mark, run) = match self {
            Self::Posix => ("#", format!("eval $({command})")),
            Self::Fish => ("#", format!("eval ({command})")),
            Self::PowerShell => ("#", format!("& {command} | Invoke-Expression")),
            Self::Cmd => ("REM", format!("@FOR /f \"tokens=*\" %i IN ('{command}') DO @%i")),
            // csh would take a bare comment in `eval` for a command.
            Self::Tcsh => (":", format!("eval `{command}`")),
            Self::Emacs => (
                ";;",
                format!("(with-temp-buffer (shell-command \"{command}\" (current-buffer)) (eval-buffer))"),
            ),
        };
        if self == Self::Tcsh {
            return format!(": \"Run this command to configure your shell: \"\n: '{run}'\n");
        }
        format!("{mark} Run this command to configure your shell: \n{mark} {run}\n")
    }
}

impl FromStr for Shell {
    type Err = UnknownShell;

    fn from_str(name: &str) -> Result<Self, UnknownShell> {
        Ok(match name {
            "sh" | "bash" | "zsh" | "dash" | "ash" | "ksh" => Self::Posix,
            "fish" => Self::Fish,
            "powershell" | "pwsh" => Self::PowerShell,
            "cmd" => Self::Cmd,
            "tcsh" | "csh" => Self::Tcsh,
            "emacs" => Self::Emacs,
            _ => return Err(UnknownShell(name.to_owned())),
        })
    }
}

impl fmt::Display for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Posix => "sh",
            Self::Fish => "fish",
            Self::PowerShell => "powershell",
            Self::Cmd => "cmd",
            Self::Tcsh => "tcsh",
            Self::Emacs => "emacs",
        })
    }
}

/// In double quotes like docker-machine's, when the value holds nothing that is special in them; else
/// in single quotes, because a path may hold anything and this is going to be evaluated.
fn posix_quoted(value: &str) -> String {
    if value.contains(['"', '$', '`', '\\', '!', '\n', '\'']) {
        format!("'{}'", value.replace('\'', r"'\''"))
    } else {
        format!("\"{value}\"")
    }
}

fn powershell_escaped(value: &str) -> String {
    value.replace('`', "``").replace('"', "`\"").replace('$', "`$")
}

fn lisp_escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_shell_is_told_by_its_name() {
        assert_eq!(Shell::of_login(Some("/usr/bin/fish")), Shell::Fish);
        assert_eq!(Shell::of_login(Some("/bin/bash")), Shell::Posix);
        assert_eq!(Shell::of_login(Some("/bin/unheard-of")), Shell::Posix);
        assert_eq!(Shell::of_login(None), Shell::Posix);
    }

    #[test]
    fn evaluating_a_path_runs_nothing() {
        let value = Some("unix:///tmp/$(touch x)/it's/`y`".to_owned());
        let change = Change { name: "DOCKER_HOST", value };
        assert_eq!(Shell::Posix.line(&change), r"export DOCKER_HOST='unix:///tmp/$(touch x)/it'\''s/`y`'");
        assert!(Shell::PowerShell.line(&change).contains("`$(touch x)"));
    }

    #[test]
    fn what_is_unset_does_not_swallow_what_is_set() {
        let change = |name, value: Option<&str>| Change { name, value: value.map(str::to_owned) };
        let changes = [change("A", None), change("B", None), change("C", Some("c")), change("D", Some("d"))];
        let script = Shell::Posix.script(&changes, "machine env dev");
        // As the hint has it: word splitting makes one line of it.
        let line = "A=a; B=b; eval $(cat); printf %s \"${A-}${B-}$C$D\"";
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", line]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = shell.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"cd");
    }

    #[test]
    fn a_shell_really_takes_it() {
        let value = "unix:///a b/$HOME/it's\\".to_owned();
        let changes =
            [Change { name: "X", value: Some(value.clone()) }, Change { name: "HOME", value: None }];
        let script = Shell::Posix.script(&changes, "machine env dev") + "printf %s \"$X${HOME-}\"";
        let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
    }
}
