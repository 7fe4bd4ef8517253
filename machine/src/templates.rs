//! The user's configuration file: named templates for `machine create --template NAME`.
//!
//! ```toml
//! [template.ci]
//! cpus = 4
//! memory = "4g"
//! engine-label = ["tier=ci", "owner=me"]
//! keep-on-error = true
//! ```
//!
//! A template's keys are the long options of `create`, the drivers' included; what is typed goes before it.

use crate::{config::Environment, env_vars, file_error::FileError};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

const FILE: &str = "machine/config.toml";
const OPTION: &str = "--template";

/// A template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplatesError {
    /// There is no place for the file.
    #[error("There is no configuration file: HOME is not set")]
    NoHome,
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is no TOML of ours.
    #[error("{} is wrong", .path.display())]
    Syntax {
        path: PathBuf,
        #[source]
        source: toml::de::Error,
    },
    /// There is no template of that name.
    #[error("There is no template \"{name}\" in {}", .path.display())]
    Unknown { name: String, path: PathBuf },
    /// A value that no option can have.
    #[error(
        "The template \"{name}\" has a value for \"{key}\" that is neither text, number, boolean nor a list of these"
    )]
    Value { name: String, key: String },
}

/// The file.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    template: BTreeMap<String, BTreeMap<String, toml::Value>>,
}

/// `arguments` with the options of the template that `create` was asked to use, before those that were typed.
pub fn expand(arguments: &[OsString], environment: &Environment) -> Result<Vec<OsString>, TemplatesError> {
    let Some(create) = arguments.iter().position(|argument| argument == "create") else {
        return Ok(arguments.to_vec());
    };
    let mut expanded = arguments[..=create].to_vec();
    let mut typed = Vec::new();
    let mut rest = arguments[create + 1..].iter();
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy();
        let name = match text.strip_prefix(OPTION) {
            Some("") => rest.next().map(|name| name.to_string_lossy().into_owned()),
            Some(value) => value.strip_prefix('=').map(str::to_owned),
            None => None,
        };
        match name {
            Some(name) => expanded.extend(options(&name, environment)?),
            None => typed.push(argument.clone()),
        }
    }
    expanded.extend(typed);
    Ok(expanded)
}

fn options(name: &str, environment: &Environment) -> Result<Vec<OsString>, TemplatesError> {
    let path = file(environment)?;
    let unknown = || TemplatesError::Unknown { name: name.to_owned(), path: path.clone() };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unknown()),
        Err(source) => return Err(FileError::new("read", &path, source).into()),
    };
    let config: Config =
        toml::from_str(&text).map_err(|source| TemplatesError::Syntax { path: path.clone(), source })?;
    let template = config.template.get(name).ok_or_else(unknown)?;
    let mut options = Vec::new();
    for (key, value) in template {
        let wrong = || TemplatesError::Value { name: name.to_owned(), key: key.clone() };
        match value {
            toml::Value::Boolean(true) => options.push(format!("--{key}")),
            toml::Value::Boolean(false) => {}
            toml::Value::Array(values) => {
                for value in values {
                    options.push(format!("--{key}={}", plain(value).ok_or_else(wrong)?));
                }
            }
            value => options.push(format!("--{key}={}", plain(value).ok_or_else(wrong)?)),
        }
    }
    Ok(options.into_iter().map(OsString::from).collect())
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

fn file(environment: &Environment) -> Result<PathBuf, TemplatesError> {
    if let Some(path) = environment.get(env_vars::CONFIG) {
        return Ok(environment.working_folder.join(path));
    }
    let folder = match environment.get(env_vars::XDG_CONFIG_HOME) {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(environment.get(env_vars::HOME).ok_or(TemplatesError::NoHome)?).join(".config"),
    };
    Ok(environment.working_folder.join(folder).join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(text: &str) -> (tempfile::TempDir, Environment) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, text).unwrap();
        let variables = [(env_vars::CONFIG.to_owned(), path.display().to_string())].into();
        (folder, Environment { variables, ..Environment::default() })
    }

    fn expanded(text: &str, arguments: &[&str]) -> Result<Vec<String>, TemplatesError> {
        let (_folder, environment) = environment(text);
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let expanded = expand(&arguments, &environment)?;
        Ok(expanded.into_iter().map(|argument| argument.into_string().unwrap()).collect())
    }

    const CI: &str =
        "[template.ci]\ncpus = 4\nmemory = \"4g\"\nengine-label = [\"a=b\", \"c=d\"]\nkeep-on-error = true\n";

    #[test]
    fn a_template_stands_before_what_is_typed() {
        let all =
            expanded(CI, &["machine", "-D", "create", "--memory", "1g", "--template", "ci", "dev"]).unwrap();
        let ci = ["--cpus=4", "--engine-label=a=b", "--engine-label=c=d", "--keep-on-error", "--memory=4g"];
        assert_eq!(all, [&["machine", "-D", "create"][..], &ci, &["--memory", "1g", "dev"]].concat());
        let none = ["machine", "ssh", "dev", "--template", "x"];
        assert_eq!(expanded(CI, &none).unwrap(), none);
    }

    #[test]
    fn mistakes_are_named() {
        let create = ["machine", "create", "--template=x", "dev"];
        assert!(matches!(expanded(CI, &create), Err(TemplatesError::Unknown { .. })));
        assert!(matches!(expanded("[templat.x]", &create), Err(TemplatesError::Syntax { .. })));
        assert!(matches!(expanded("[template.x]\na = {b = 1}", &create), Err(TemplatesError::Value { .. })));
    }
}
