//! What BuildKit's linter says of a Dockerfile (`docker build --check`, and beside every build). Pure.

mod rules;

pub(crate) use rules::Rule;

use super::{
    arguments::Arguments,
    dockerfile::Dockerfile,
    expand::{Lookup, word},
    ignore::Ignore,
    instruction::{Command, CommandLine, Instruction, Transfer, nearest},
    plan::{Base, Plan, Stage},
    remote::Remote,
    steps::expanded,
};
use crate::{
    error::{EngineError, Result},
    image::Reference,
    platform::Platform,
};
use bollard_stubs::models::ImageConfig;
use rules::*;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

/// What a name must not have in it to be no secret, between underscores.
const SECRETS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
/// What else in it says that it is none after all.
const NO_SECRETS: [&str; 3] = ["public", "file", "version"];
const RESERVED: [&str; 2] = ["context", "scratch"];

/// Something that could be better.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) rule: &'static Rule,
    pub(crate) detail: String,
    /// First and last line.
    pub(crate) lines: (usize, usize),
}

/// What the Dockerfile says of its own checks: `# check=skip=JSONArgsRecommended;error=true`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    skip_all: bool,
    skip: BTreeSet<String>,
    try_all: bool,
    /// Experimental rules that are to be looked at.
    tried: BTreeSet<String>,
    /// Warnings are to fail the build.
    pub(crate) error: bool,
}

/// Everything that counts besides the Dockerfile.
pub(crate) struct Around<'a> {
    /// Stages that are looked into.
    pub(crate) stages: &'a [bool],
    pub(crate) arguments: &'a Arguments,
    pub(crate) ignore: &'a Ignore,
    /// Configurations of base images, as far as they are known.
    pub(crate) bases: &'a BTreeMap<String, ImageConfig>,
}

impl Wishes {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut wishes = Self::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let bad = |what: &str| EngineError::invalid(format!("invalid check option {what:?}"));
            let (key, value) = part.split_once('=').ok_or_else(|| bad(part))?;
            match (key.trim(), value.trim()) {
                ("skip", "all") => wishes.skip_all = true,
                ("skip", rules) => wishes.skip.extend(rules.split(',').map(|rule| rule.trim().to_owned())),
                ("experimental", "all") => wishes.try_all = true,
                ("experimental", rules) => {
                    wishes.tried.extend(rules.split(',').map(|rule| rule.trim().to_owned()));
                }
                ("error", "true" | "1") => wishes.error = true,
                ("error", "false" | "0") => {}
                (other, _) => return Err(bad(other)),
            }
        }
        Ok(wishes)
    }

    fn include(&self, rule: &Rule) -> bool {
        match rule.experimental {
            true => self.try_all || self.tried.contains(rule.name),
            false => !self.skip_all && !self.skip.contains(rule.name),
        }
    }
}

/// All warnings, by line.
pub(crate) fn check(
    text: &str,
    dockerfile: &Dockerfile,
    plan: &Plan,
    around: &Around<'_>,
    wishes: &Wishes,
) -> Vec<Warning> {
    let mut found = Found(Vec::new());
    found.lines(text, dockerfile);
    found.descriptions(text, plan);
    found.names(plan);
    found.platforms(plan);
    found.bases(plan, around);
    let mut seen: Vec<Sight> = Vec::new();
    for (stage, looked_into) in plan.stages.iter().zip(around.stages) {
        let mut sight = match &stage.base {
            Base::Stage(base) => {
                Sight { once: BTreeMap::new(), declared: BTreeSet::new(), ..seen[*base].clone() }
            }
            Base::Image(image) => Sight::of(around.bases.get(image)),
            Base::Scratch => Sight::of(Some(&ImageConfig::default())),
        };
        // A stage that nobody needs is followed, for those that stand on it, and not told about.
        let mut quiet = Found(Vec::new());
        let told = if *looked_into { &mut found } else { &mut quiet };
        for instruction in &stage.instructions {
            told.instruction(plan, instruction, &mut sight, around);
        }
        seen.push(sight);
    }
    let Found(mut warnings) = found;
    warnings.retain(|warning| wishes.include(warning.rule));
    warnings.sort_by_key(|warning| warning.lines);
    warnings
}

/// What a stage knows as it goes on.
#[derive(Clone, Debug, Default)]
struct Sight {
    /// `None` when the base image's is not known.
    environment: Option<BTreeSet<String>>,
    declared: BTreeSet<String>,
    has_shell: bool,
    has_folder: bool,
    /// Where instructions were that count once.
    once: BTreeMap<&'static str, (usize, usize)>,
}

impl Sight {
    fn of(config: Option<&ImageConfig>) -> Self {
        let name = |entry: &String| entry.split_once('=').map_or(entry.as_str(), |(name, _)| name).to_owned();
        let environment = config.map(|config| {
            let own = config.env.iter().flatten().map(name);
            own.chain(["PATH".to_owned()]).collect()
        });
        let has_shell =
            config.is_some_and(|config| config.shell.as_ref().is_some_and(|shell| !shell.is_empty()));
        Self { environment, has_shell, ..Self::default() }
    }
}

/// Knows some names, and notes which others were asked for.
#[derive(Default)]
struct Names {
    known: BTreeMap<String, String>,
    asked: RefCell<BTreeSet<String>>,
}

impl Names {
    fn knowing(known: BTreeMap<String, String>) -> Self {
        Self { known, ..Self::default() }
    }
}

impl Lookup for Names {
    fn get(&self, name: &str) -> Option<String> {
        let value = self.known.get(name).cloned();
        if value.is_none() {
            self.asked.borrow_mut().insert(name.to_owned());
        }
        value
    }
}

struct Found(Vec<Warning>);

impl Found {
    fn add(&mut self, rule: &'static Rule, lines: (usize, usize), detail: impl Into<String>) {
        self.0.push(Warning { rule, detail: detail.into(), lines });
    }

    fn lines(&mut self, text: &str, dockerfile: &Dockerfile) {
        let physical: Vec<&str> = text.lines().collect();
        for line in dockerfile.lines.iter().filter(|line| line.heredocs.is_empty()) {
            let inside = physical.get(line.number..line.end).unwrap_or_default();
            if inside.iter().any(|line| line.trim().is_empty()) {
                self.add(NO_EMPTY_CONTINUATION, (line.end, line.end), "Empty continuation line");
            }
        }
    }

    /// Comments right above what they seem to describe.
    fn descriptions(&mut self, text: &str, plan: &Plan) {
        let physical: Vec<&str> = text.lines().collect();
        for stage in &plan.stages {
            for instruction in &stage.instructions {
                let (keyword, names): (_, Vec<&str>) = match &instruction.command {
                    Command::From { .. } => ("FROM", stage.name.as_deref().into_iter().collect()),
                    Command::Arg(list) => ("ARG", list.iter().map(|(name, _)| name.as_str()).collect()),
                    _ => continue,
                };
                let above = instruction.lines.0.checked_sub(2).and_then(|index| physical.get(index));
                let Some(comment) = above.and_then(|line| line.trim_start().strip_prefix('#')) else {
                    continue;
                };
                let said = comment.split_whitespace().next().unwrap_or_default();
                let is_directive =
                    ["syntax=", "escape=", "check="].iter().any(|directive| said.starts_with(directive));
                let name = match names.as_slice() {
                    [] => continue,
                    [name] => name,
                    _ => "<arg_key>",
                };
                if !said.is_empty() && !is_directive && !names.contains(&said) {
                    let detail =
                        format!("Comment for {keyword} should follow the format: `# {name} <description>`");
                    self.add(INVALID_DEFINITION_DESCRIPTION, instruction.lines, detail);
                }
            }
        }
    }

    fn names(&mut self, plan: &Plan) {
        let instructions = || plan.stages.iter().flat_map(|stage| &stage.instructions);
        let keywords: Vec<&str> = instructions().map(keyword).collect();
        let lower = keywords.iter().filter(|word| is_lower(word)).count();
        let upper = keywords.iter().filter(|word| is_upper(word)).count();
        for (instruction, word) in instructions().zip(keywords) {
            let casing = match lower > upper {
                true if !is_lower(word) => "lowercase",
                false if !is_upper(word) => "uppercase",
                _ => continue,
            };
            let detail = format!("Command '{word}' should match the case of the command majority ({casing})");
            self.add(CONSISTENT_INSTRUCTION_CASING, instruction.lines, detail);
        }
        for (index, stage) in plan.stages.iter().enumerate() {
            let (Some(name), Some(from)) = (&stage.name, stage.instructions.first()) else { continue };
            let lines = from.lines;
            let words: Vec<&str> = from.text.split_whitespace().collect();
            let [command, .., by, written] = words.as_slice() else { continue };
            let alike = if is_lower(command) { is_lower(by) } else { !is_upper(command) || is_upper(by) };
            if !alike {
                let detail = format!("'{by}' and '{command}' keywords' casing do not match");
                self.add(FROM_AS_CASING, lines, detail);
            }
            if !is_lower(written) {
                self.add(STAGE_NAME_CASING, lines, format!("Stage name '{written}' should be lowercase"));
            }
            if plan.repeated_name(index).is_some() {
                let detail = format!("Duplicate stage name {name:?}, stage names should be unique");
                self.add(DUPLICATE_STAGE_NAME, lines, detail);
            }
            if RESERVED.contains(&name.as_str()) {
                let detail = format!("Stage name should not use the same name as reserved stage {name:?}");
                self.add(RESERVED_STAGE_NAME, lines, detail);
            }
        }
    }

    fn platforms(&mut self, plan: &Plan) {
        for stage in &plan.stages {
            let Some(Instruction { command: Command::From { platform: Some(platform), .. }, lines, .. }) =
                stage.instructions.first()
            else {
                continue;
            };
            if matches!(platform.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
                let detail = format!(
                    "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
                );
                self.add(REDUNDANT_TARGET_PLATFORM, *lines, detail);
            }
            if !platform.contains('$') && !named_after(stage, platform) {
                let detail = format!("FROM --platform flag should not use constant value {platform:?}");
                self.add(FROM_PLATFORM_FLAG_CONST_DISALLOWED, *lines, detail);
            }
        }
    }

    fn bases(&mut self, plan: &Plan, around: &Around<'_>) {
        let known: BTreeMap<String, String> = around.arguments.for_from().into_iter().collect();
        let declared: Vec<&str> = around.arguments.before_stages().collect();
        let defaults: BTreeMap<String, String> = around.arguments.defaults_for_from().into_iter().collect();
        for stage in &plan.stages {
            let Some(Instruction { command: Command::From { image, platform, .. }, lines, .. }) =
                stage.instructions.first()
            else {
                continue;
            };
            let names = Names::knowing(known.clone());
            for text in [Some(image), platform.as_ref()].into_iter().flatten() {
                // What cannot be read was refused before.
                drop(word(text, plan.escape, &names));
            }
            for name in names.asked.into_inner() {
                if !declared.contains(&name.as_str())
                    && !has_default(&[image, platform.as_deref().unwrap_or("")], &name)
                {
                    let meant = nearest(&name, &declared).map(|name| format!(" (did you mean {name}?)"));
                    let detail =
                        format!("FROM argument '{name}' is not declared{}", meant.unwrap_or_default());
                    self.add(UNDEFINED_ARG_IN_FROM, *lines, detail);
                }
            }
            if image.contains('$')
                && let Ok(name) = word(image, plan.escape, &Names::knowing(defaults.clone()))
                && name.parse::<Reference>().is_err()
            {
                let detail =
                    format!("Default value for ARG {image} results in empty or invalid base image name");
                self.add(INVALID_DEFAULT_ARG_IN_FROM, *lines, detail);
            }
        }
    }

    fn instruction(
        &mut self,
        plan: &Plan,
        instruction: &Instruction,
        sight: &mut Sight,
        around: &Around<'_>,
    ) {
        let lines = instruction.lines;
        self.variables(plan, instruction, sight, around);
        match &instruction.command {
            Command::Env(pairs) => {
                self.old_format(instruction);
                for (name, _) in pairs {
                    self.secret("ENV", name, lines);
                    if let Some(environment) = &mut sight.environment {
                        environment.insert(name.clone());
                    }
                }
            }
            Command::Label(_) => self.old_format(instruction),
            Command::Arg(list) => {
                for (name, _) in list {
                    self.secret("ARG", name, lines);
                    sight.declared.insert(name.clone());
                }
            }
            Command::Workdir(path) => {
                let absolute = path.starts_with(['/', '$']);
                if !absolute && !sight.has_folder {
                    let detail = format!(
                        "Relative workdir {path:?} can have unexpected results if the base image changes"
                    );
                    self.add(WORKDIR_RELATIVE_PATH, lines, detail);
                }
                sight.has_folder |= absolute;
            }
            Command::Cmd(line) => self.command("CMD", line, instruction, sight),
            Command::Entrypoint(line) => self.command("ENTRYPOINT", line, instruction, sight),
            Command::Healthcheck(_) => self.only_once("HEALTHCHECK", instruction, sight),
            Command::Maintainer(_) => self.add(
                MAINTAINER_DEPRECATED,
                lines,
                "Maintainer instruction is deprecated in favor of using label",
            ),
            Command::Shell(_) => sight.has_shell = true,
            Command::Expose(ports) => {
                for port in ports {
                    if port.rsplit_once('/').is_some_and(|(_, protocol)| !is_lower(protocol)) {
                        let detail =
                            format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
                        self.add(EXPOSE_PROTO_CASING, lines, detail);
                    }
                    if port.contains(':') && !port.contains('$') {
                        let detail = format!(
                            "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
                        );
                        self.add(EXPOSE_INVALID_FORMAT, lines, detail);
                    }
                }
            }
            Command::Transfer(transfer) => self.ignored(transfer, lines, around.ignore),
            _ => {}
        }
    }

    fn variables(&mut self, plan: &Plan, instruction: &Instruction, sight: &Sight, around: &Around<'_>) {
        let Some(environment) = &sight.environment else { return };
        if matches!(instruction.command, Command::From { .. } | Command::Run { .. }) {
            return;
        }
        let known: Vec<&str> = environment
            .iter()
            .chain(&sight.declared)
            .map(String::as_str)
            .chain(Arguments::always())
            .collect();
        let names = Names::knowing(known.iter().map(|name| ((*name).to_owned(), String::new())).collect());
        // `${NAME:?…}` fails without a value; that is for the build to say.
        drop(expanded(&instruction.command, plan.escape, &names));
        for name in names.asked.into_inner() {
            if has_default(&[&instruction.text], &name) || name.parse::<u8>().is_ok() {
                continue;
            }
            let candidates: Vec<&str> =
                known.iter().copied().chain(around.arguments.before_stages()).collect();
            let meant = nearest(&name, &candidates).map(|name| format!(" (did you mean ${name}?)"));
            let detail = format!("Usage of undefined variable '${name}'{}", meant.unwrap_or_default());
            self.add(UNDEFINED_VAR, instruction.lines, detail);
        }
    }

    fn command(
        &mut self,
        name: &'static str,
        line: &CommandLine,
        instruction: &Instruction,
        sight: &mut Sight,
    ) {
        self.only_once(name, instruction, sight);
        if line.shell && !line.words.is_empty() && !sight.has_shell {
            let detail = format!(
                "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                keyword(instruction)
            );
            self.add(JSON_ARGS_RECOMMENDED, instruction.lines, detail);
        }
    }

    /// The one before is told about: it is what does not count.
    fn only_once(&mut self, name: &'static str, instruction: &Instruction, sight: &mut Sight) {
        if let Some(before) = sight.once.insert(name, instruction.lines) {
            let detail = format!(
                "Multiple {} instructions should not be used in the same stage because only the last one will be used",
                keyword(instruction)
            );
            self.add(MULTIPLE_INSTRUCTIONS_DISALLOWED, before, detail);
        }
    }

    fn old_format(&mut self, instruction: &Instruction) {
        let word = keyword(instruction);
        let rest = instruction.text[word.len()..].trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        if !rest.starts_with(['"', '\'']) && !rest[..end].contains('=') {
            let detail =
                format!("\"{word} key=value\" should be used instead of legacy \"{word} key value\" format");
            self.add(LEGACY_KEY_VALUE_FORMAT, instruction.lines, detail);
        }
    }

    fn secret(&mut self, command: &str, name: &str, lines: (usize, usize)) {
        let lower = name.to_ascii_lowercase();
        let mut parts = lower.split('_');
        if parts.clone().any(|part| SECRETS.contains(&part)) && !parts.any(|part| NO_SECRETS.contains(&part))
        {
            let detail =
                format!("Do not use ARG or ENV instructions for sensitive data ({command} {name:?})");
            self.add(SECRETS_USED_IN_ARG_OR_ENV, lines, detail);
        }
    }

    fn ignored(&mut self, transfer: &Transfer, lines: (usize, usize), ignore: &Ignore) {
        // What exceptions let through after all cannot be told from here.
        if transfer.from.is_some() || ignore.has_exceptions() {
            return;
        }
        let command = if transfer.add { "Add" } else { "Copy" };
        for source in &transfer.sources {
            let is_file = !source.starts_with("<<") && !matches!(Remote::of(source), Ok(Some(_)));
            let path = super::tree::clean(source);
            if is_file && !path.is_empty() && !path.contains('$') && ignore.matches(&path) {
                let detail =
                    format!("Attempting to {command} file {path:?} that is excluded by .dockerignore");
                self.add(COPY_IGNORED_FILE, lines, detail);
            }
        }
    }
}

/// Variables that a word asks for.
pub(super) fn asked(text: &str, escape: char) -> BTreeSet<String> {
    let names = Names::default();
    // What cannot be read is for the build to refuse.
    drop(word(text, escape, &names));
    names.asked.into_inner()
}

/// As it is written.
fn keyword(instruction: &Instruction) -> &str {
    instruction.text.split_whitespace().next().unwrap_or_default()
}

fn is_lower(text: &str) -> bool {
    text == text.to_lowercase()
}

fn is_upper(text: &str) -> bool {
    text == text.to_uppercase()
}

/// Whether it says itself what holds when there is no value.
fn has_default(texts: &[&str], name: &str) -> bool {
    ["-", "+", ":-", ":+"].iter().any(|operator| {
        let used = format!("${{{name}{operator}");
        texts.iter().any(|text| text.contains(&used))
    })
}

/// A stage that is called after its platform means it. What is no platform is for the build to refuse.
fn named_after(stage: &Stage, platform: &str) -> bool {
    let name = stage.name.as_deref().unwrap_or_default();
    platform
        .parse::<Platform>()
        .map_or(true, |Platform { os, architecture, .. }| name.contains(&os) || name.contains(&architecture))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str, wishes: &str) -> Vec<String> {
        let dockerfile = Dockerfile::parse(text).unwrap();
        let mut arguments = Arguments::default();
        arguments.set_platform("linux/amd64", "");
        let plan = Plan::new(&dockerfile, &mut arguments).unwrap();
        let env = Some(vec!["JAVA_HOME=/j".to_owned()]);
        let bases = [("known".to_owned(), ImageConfig { env, ..ImageConfig::default() })].into();
        let ignore = Ignore::parse("*.log\n");
        let around = Around { stages: &[true; 9], arguments: &arguments, ignore: &ignore, bases: &bases };
        let found = check(text, &dockerfile, &plan, &around, &Wishes::parse(wishes).unwrap());
        found.iter().map(|found| format!("{} {}: {}", found.lines.0, found.rule.name, found.detail)).collect()
    }

    #[test]
    fn a_good_file_is_let_be() {
        let text = "ARG V=1\nFROM known:$V AS one\nARG TARGETARCH\nENV A=$JAVA_HOME B=${C:-d} PUBLIC_KEY=x KEY_FILE=k P=$PATH\n\
                    WORKDIR /a\nWORKDIR b\nCOPY a /$A\nRUN echo $WHATEVER\nCMD [\"x\"]\nFROM one\nENV D=$A\n\
                    SHELL [\"sh\"]\nCMD run\nFROM unknown\nENV E=$FROM_BASE\nFROM --platform=$BUILDPLATFORM known\n";
        let text = text.replace("known:$V", "known").replace("ARG V=1\n", "");
        assert_eq!(checked(&text, ""), Vec::<String>::new());
    }

    #[test]
    fn every_rule_finds_its_own() {
        for (text, found) in [
            ("FROM a AS One", "1 StageNameCasing: Stage name 'One' should be lowercase"),
            ("FROM a as one", "1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"),
            ("FROM a\nRUN x \\\n\n  y", "4 NoEmptyContinuation: Empty continuation line"),
            (
                "FROM a\nRUN x\nrun y",
                "3 ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase)",
            ),
            (
                "FROM a AS x\nFROM a AS x",
                "2 DuplicateStageName: Duplicate stage name \"x\", stage names should be unique",
            ),
            (
                "FROM a AS scratch",
                "1 ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"",
            ),
            (
                "FROM a\nCMD x",
                "2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS \
                 signals",
            ),
            (
                "FROM a\nMAINTAINER x",
                "2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label",
            ),
            (
                "ARG VERSION=1\nFROM a:b$VERSON",
                "2 UndefinedArgInFrom: FROM argument 'VERSON' is not declared (did you mean VERSION?)",
            ),
            (
                "FROM a\nWORKDIR x",
                "2 WorkdirRelativePath: Relative workdir \"x\" can have unexpected results if the base image changes",
            ),
            (
                "FROM known\nENV A=$JAVA_HOM",
                "2 UndefinedVar: Usage of undefined variable '$JAVA_HOM' (did you mean $JAVA_HOME?)",
            ),
            ("FROM scratch\nCOPY $Q /", "2 UndefinedVar: Usage of undefined variable '$Q'"),
            (
                "FROM a\nCMD [\"x\"]\nCMD [\"y\"]",
                "2 MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because \
                 only the last one will be used",
            ),
            (
                "FROM a\nENV A b",
                "2 LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
            ),
            (
                "FROM --platform=$TARGETPLATFORM a",
                "1 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is \
                 the default behavior",
            ),
            (
                "FROM a\nARG API_TOKEN",
                "2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"API_TOKEN\")",
            ),
            (
                "ARG V\nFROM a:$V",
                "2 InvalidDefaultArgInFrom: Default value for ARG a:$V results in empty or invalid base image name",
            ),
            (
                "FROM --platform=linux/amd64 a",
                "1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\"",
            ),
            ("FROM a As one", "1 FromAsCasing: 'As' and 'FROM' keywords' casing do not match"),
            (
                "FROM a\nEXPOSE 127.0.0.1:80:80 81",
                "2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found \
                 '127.0.0.1:80:80'",
            ),
            (
                "FROM a\nEXPOSE 80/TcP",
                "2 ExposeProtoCasing: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase",
            ),
        ] {
            assert_eq!(checked(text, ""), [found], "{text}");
            let rule = found.split([' ', ':']).nth(1).unwrap();
            assert!(checked(text, &format!("skip={rule},Other;error=true")).is_empty(), "{rule}");
            assert!(checked(text, "skip=all").is_empty());
        }
        let experimental =
            "# a is not described\nFROM a AS b\n# C\nARG c d\n# e it is\nARG e\n#\nARG f\nCOPY x.log /\n";
        assert!(checked(experimental, "").is_empty());
        assert_eq!(
            checked(experimental, "skip=all;experimental=InvalidDefinitionDescription,CopyIgnoredFile"),
            [
                "2 InvalidDefinitionDescription: Comment for FROM should follow the format: `# b <description>`",
                "4 InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`",
                "9 CopyIgnoredFile: Attempting to Copy file \"x.log\" that is excluded by .dockerignore",
            ]
        );
        assert_eq!(checked(experimental, "experimental=all").len(), 3);
        assert_eq!(Wishes::parse("what").unwrap_err().to_string(), "invalid check option \"what\"");
    }
}
