//! From arguments to a command: clap's part (`cli.rs`) and the drivers' own options, which are data.

use crate::{
    cli::Cli,
    config::Environment,
    drivers::{self, Registry},
    env_vars,
    error::{CommandError, ErrorKind},
};
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, value_parser};
use machine_drivers::{DriverOptions, OptionKind, OptionSpec, OptionValue};
use std::ffi::OsString;

/// A command line that was understood.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) cli: Cli,
    /// The drivers' options of `create`, of all drivers.
    pub(crate) driver_options: DriverOptions,
}

/// A command line that leads to no command.
#[derive(Debug)]
pub(crate) enum Unparsed {
    /// Help or version, for stdout.
    Told(String),
    /// It is wrong; why, and how it is used.
    Wrong(String),
    /// The environment is wrong.
    Error(CommandError),
}

/// The commands that take drivers' options.
const WITH_DRIVER_OPTIONS: [&str; 2] = ["create", "gc"];

/// Parses `arguments`, which begin with the program's name.
pub(crate) fn parse(
    arguments: &[OsString],
    drivers: &Registry,
    environment: &Environment,
) -> Result<Parsed, Unparsed> {
    let specs = specs(drivers);
    let shown = shown_driver(arguments, drivers, environment);
    let matches =
        command(drivers, shown).try_get_matches_from(arguments).map_err(|error| unparsed(&error))?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| unparsed(&error))?;
    let mut driver_options = DriverOptions::new();
    if let Some(create) = WITH_DRIVER_OPTIONS.iter().find_map(|name| matches.subcommand_matches(name)) {
        for spec in &specs {
            if let Some(value) = value(spec, create, environment)? {
                driver_options.insert(spec.name.to_owned(), value);
            }
        }
    }
    Ok(Parsed { cli, driver_options })
}

/// Whose options the help shows: the driver's that is named, else the default's. `None` shows all, for
/// want of anything better.
fn shown_driver<'a>(
    arguments: &'a [OsString],
    drivers: &Registry,
    environment: &'a Environment,
) -> Option<&'a str> {
    let mut words = arguments.iter().filter_map(|argument| argument.to_str());
    let mut named = None;
    while let Some(word) = words.next() {
        if word == "-d" || word == "--driver" {
            named = words.next();
        } else if let Some(name) = word.strip_prefix("--driver=") {
            named = Some(name);
        }
    }
    let name = named.or_else(|| environment.get(env_vars::DRIVER)).unwrap_or(drivers::DEFAULT);
    drivers.get(name).is_ok().then_some(name)
}

/// The whole command line, with the drivers' options; the help shows those of the driver `shown`, or all.
pub(crate) fn command(drivers: &Registry, shown: Option<&str>) -> clap::Command {
    let mut command = Cli::command();
    for name in WITH_DRIVER_OPTIONS {
        command = command.mut_subcommand(name, |command| {
            let options = drivers.iter().flat_map(|driver| {
                let hidden = shown.is_some_and(|shown| shown != driver.name());
                driver.options().iter().map(move |spec| argument(spec).hide(hidden))
            });
            let command = command.next_help_heading("Driver options").args(options);
            let others: Vec<&str> = drivers.iter().map(|driver| driver.name()).collect();
            match shown {
                Some(_) => command.after_help(format!(
                    "Drivers: {}; --driver NAME --help shows the options of another one",
                    others.join(", ")
                )),
                None => command,
            }
        });
    }
    command
}

fn specs(drivers: &Registry) -> Vec<OptionSpec> {
    drivers.iter().flat_map(|driver| driver.options()).copied().collect()
}

fn unparsed(error: &clap::Error) -> Unparsed {
    let text = error.render().to_string();
    if error.use_stderr() {
        let text = text.strip_prefix("error: ").map_or(text.clone(), |rest| format!("Error: {rest}"));
        Unparsed::Wrong(text.trim_end().to_owned())
    } else {
        Unparsed::Told(text)
    }
}

fn argument(spec: &OptionSpec) -> Arg {
    let mut help = spec.help.to_owned();
    if let Some(env) = spec.env {
        help += &format!(" [env: {env}=]");
    }
    let arg = Arg::new(spec.name).long(spec.name);
    let arg = match spec.kind {
        OptionKind::Flag => arg.action(ArgAction::SetTrue),
        OptionKind::Text(default) => {
            help += &default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
            arg.value_name("TEXT")
        }
        OptionKind::Number(default) => {
            help += &default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
            arg.value_name("NUMBER").value_parser(value_parser!(u64))
        }
        OptionKind::List => arg.value_name("TEXT").action(ArgAction::Append),
    };
    arg.help(help)
}

/// The option's value: the flag's, else the environment's. Defaults are the driver's own business.
fn value(
    spec: &OptionSpec,
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<Option<OptionValue>, Unparsed> {
    let env = spec.env.and_then(|env| environment.get(env));
    Ok(match spec.kind {
        OptionKind::Flag => (matches.get_flag(spec.name) || env.is_some()).then_some(OptionValue::Flag),
        OptionKind::Text(_) => {
            let given = matches.get_one::<String>(spec.name).map(String::as_str);
            given.or(env).map(|text| OptionValue::Text(text.to_owned()))
        }
        OptionKind::Number(_) => match (matches.get_one::<u64>(spec.name), env) {
            (Some(number), _) => Some(OptionValue::Number(*number)),
            (None, Some(env)) => Some(OptionValue::Number(env.parse().map_err(|_| not_a_number(spec, env))?)),
            (None, None) => None,
        },
        OptionKind::List => match (matches.get_many::<String>(spec.name), env) {
            (Some(values), _) => Some(OptionValue::List(values.cloned().collect())),
            (None, Some(env)) => Some(OptionValue::List(env.split(',').map(str::to_owned).collect())),
            (None, None) => None,
        },
    })
}

fn not_a_number(spec: &OptionSpec, text: &str) -> Unparsed {
    let message = format!("{} must be a number, not {text:?}", spec.env.unwrap_or(spec.name));
    Unparsed::Error(CommandError::new(ErrorKind::Usage, message))
}
