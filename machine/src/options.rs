//! From arguments to a command: clap's part (`cli.rs`) and the drivers' own options, which are data.

use crate::{
    cli::Cli,
    config::Environment,
    drivers::{self, Registry, Unavailable, UnknownDriver},
    env_vars,
    error::{self, CommandError},
};
use clap::{
    Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
    value_parser,
};
use machine_drivers::{Driver, DriverOptions, OptionKind, OptionSpec, OptionValue};
use std::{collections::BTreeSet, ffi::OsString};

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
    let named = named_driver(arguments, environment);
    let opened = if takes_driver_options(arguments) { open(named, drivers)? } else { Ok(()) };
    let shown = drivers.get(named).is_ok().then_some(named);
    let matches = command(drivers, shown).try_get_matches_from(arguments).map_err(|error| match opened {
        // Its options are unknown only because it is.
        Err(unknown) if is_option_of(named, &error) => Unparsed::Error(unknown.into()),
        _ => unparsed(&error),
    })?;
    let specs = specs(drivers);
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

/// Whether the command line is wrong for an option that bears the driver's name.
fn is_option_of(driver: &str, error: &clap::Error) -> bool {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) if error.kind() == ErrorKind::UnknownArgument => {
            option.starts_with(&format!("--{driver}-"))
        }
        _ => false,
    }
}

/// Whether the command is one that takes drivers' options.
fn takes_driver_options(arguments: &[OsString]) -> bool {
    let commands = Cli::command();
    let mut words = arguments.iter().skip(1).filter_map(|argument| argument.to_str());
    let command = words.find(|word| commands.find_subcommand(word).is_some());
    command.is_some_and(|command| WITH_DRIVER_OPTIONS.contains(&command))
}

/// Has the driver that was named say what its options are. That there is none of the name is for the command
/// to tell, unless its options are in the way.
fn open(name: &str, drivers: &Registry) -> Result<Result<(), UnknownDriver>, Unparsed> {
    let driver = match drivers.open(name) {
        Ok(driver) => driver,
        Err(Unavailable::Unknown(unknown)) => return Ok(Err(unknown)),
        Err(error) => return Err(Unparsed::Error(error.into())),
    };
    let plain = Cli::command();
    let commands = WITH_DRIVER_OPTIONS.iter().filter_map(|command| plain.find_subcommand(command));
    let taken: BTreeSet<&str> = commands
        .chain([&plain])
        .flat_map(|command| command.get_arguments())
        .filter_map(Arg::get_long)
        .collect();
    let others = drivers.known().into_iter().filter(|other| other.name() != name);
    let others: BTreeSet<&str> =
        others.flat_map(|other| other.options()).map(|option| option.name).chain(taken).collect();
    match driver.options().iter().find(|option| others.contains(option.name)) {
        Some(option) => {
            let message =
                format!("The driver {name} has an option --{}, and so has somebody else", option.name);
            Err(Unparsed::Error(CommandError::new(error::ErrorKind::Failed, message)))
        }
        None => Ok(Ok(())),
    }
}

/// Whose options the help shows: the driver's that is named, else the default's.
fn named_driver<'a>(arguments: &'a [OsString], environment: &'a Environment) -> &'a str {
    let mut words = arguments.iter().filter_map(|argument| argument.to_str());
    let mut named = None;
    while let Some(word) = words.next() {
        if word == "-d" || word == "--driver" {
            named = words.next();
        } else if let Some(name) = word.strip_prefix("--driver=") {
            named = Some(name);
        }
    }
    named.or_else(|| environment.get(env_vars::DRIVER)).unwrap_or(drivers::DEFAULT)
}

/// A driver's own options in `words`, and in the environment.
pub(crate) fn of_driver(
    driver: &dyn Driver,
    words: &[String],
    environment: &Environment,
) -> Result<DriverOptions, CommandError> {
    let command = clap::Command::new("options").no_binary_name(true).disable_help_flag(true);
    let matches = command.args(driver.options().iter().map(argument)).try_get_matches_from(words);
    let told = |unparsed| match unparsed {
        Unparsed::Error(error) => error,
        Unparsed::Told(text) | Unparsed::Wrong(text) => {
            let text = text.lines().next().unwrap_or_default().trim_start_matches("Error: ").to_owned();
            CommandError::new(error::ErrorKind::Usage, text)
        }
    };
    let matches = matches.map_err(|error| told(unparsed(&error)))?;
    let mut options = DriverOptions::new();
    for spec in driver.options() {
        if let Some(value) = value(spec, &matches, environment).map_err(told)? {
            options.insert(spec.name.to_owned(), value);
        }
    }
    Ok(options)
}

/// The whole command line, with the drivers' options; the help shows those of the driver `shown`, or, for
/// want of anything better, all.
pub(crate) fn command(drivers: &Registry, shown: Option<&str>) -> clap::Command {
    let mut command = Cli::command();
    for name in WITH_DRIVER_OPTIONS {
        command = command.mut_subcommand(name, |command| {
            let known = drivers.known();
            let options = known.iter().flat_map(|driver| {
                let hidden = shown.is_some_and(|shown| shown != driver.name());
                driver.options().iter().map(move |spec| argument(spec).hide(hidden))
            });
            let command = command.next_help_heading("Driver options").args(options);
            let others: Vec<&str> = known.iter().map(|driver| driver.name()).collect();
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
    drivers.known().iter().flat_map(|driver| driver.options()).copied().collect()
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
        OptionKind::Secret => arg.value_name("SECRET"),
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
        OptionKind::Text(_) | OptionKind::Secret => {
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
    Unparsed::Error(CommandError::new(error::ErrorKind::Usage, message))
}
