//! Which stages a build has, what each stands on, and which of them the target needs.

use super::{
    arguments::Arguments,
    dockerfile::{Dockerfile, at_line},
    expand::word,
    instruction::{Command, Instruction, parse},
    mount,
    remote::Remote,
};
use crate::error::{EngineError, Result};

/// A Dockerfile's stages up to the target.
#[derive(Debug)]
pub(super) struct Plan {
    /// `ARG`s before the first stage.
    pub(super) meta: Vec<Instruction>,
    pub(super) stages: Vec<Stage>,
    /// Names of all stages, also of those that the target leaves out.
    pub(super) names: Vec<Option<String>>,
    pub(super) escape: char,
}

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: Option<String>,
    pub(super) base: Base,
    /// As `FROM --platform` says it.
    pub(super) platform: Option<String>,
    /// `FROM` first.
    pub(super) instructions: Vec<Instruction>,
}

/// Which of several stages a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namesake {
    First,
    Last,
}

/// What a stage begins as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Scratch,
    /// A stage before it.
    Stage(usize),
    Image(String),
}

impl Plan {
    /// Groups a Dockerfile's instructions and evaluates what stands before the first stage.
    pub(super) fn new(dockerfile: &Dockerfile, arguments: &mut Arguments) -> Result<Self> {
        let escape = dockerfile.escape;
        let (meta, groups) = grouped(parse(dockerfile)?)?;
        for instruction in &meta {
            let env = arguments.for_from();
            let command = super::steps::expanded(&instruction.command, escape, env.as_slice())
                .map_err(|error| at_line(instruction.lines.0, error))?;
            if let Command::Arg(args) = command {
                for (name, value) in args {
                    arguments.declare_meta(&name, value);
                }
            }
        }
        let env = arguments.for_from();
        let mut stages: Vec<Stage> = Vec::new();
        for instructions in groups {
            let Command::From { image, name, platform } = &instructions[0].command else { continue };
            let expand = |text: &str| {
                word(text, escape, env.as_slice()).map_err(|error| at_line(instructions[0].lines.0, error))
            };
            let image = expand(image)?;
            let base = match image.as_str() {
                "" => {
                    let Command::From { image: given, .. } = &instructions[0].command else { continue };
                    return Err(EngineError::invalid(format!("base name ({given}) should not be blank")));
                }
                "scratch" => Base::Scratch,
                _ => match named(&stages, &image) {
                    Some(stage) => Base::Stage(stage),
                    None => Base::Image(image),
                },
            };
            let platform = platform.as_deref().map(expand).transpose()?.filter(|text| !text.is_empty());
            stages.push(Stage { name: name.clone(), base, platform, instructions });
        }
        let names = stages.iter().map(|stage| stage.name.clone()).collect();
        Ok(Self { meta, names, stages, escape })
    }

    /// Leaves out what comes after the target, which is a stage's name, or empty for the last one. Of several
    /// stages with that name BuildKit means the last, the classic builder the first.
    pub(super) fn stop_at(&mut self, target: &str, meant: Namesake) -> Result<()> {
        if target.is_empty() {
            return Ok(());
        }
        let found = match meant {
            Namesake::Last => named(&self.stages, target),
            Namesake::First => {
                let is_it = |name: &String| name.eq_ignore_ascii_case(target);
                self.stages.iter().position(|stage| stage.name.as_ref().is_some_and(is_it))
            }
        };
        let missing = || EngineError::invalid(format!("target stage {target:?} could not be found"));
        self.stages.truncate(found.ok_or_else(missing)? + 1);
        Ok(())
    }

    /// The name of a stage, when one before it has the same.
    pub(super) fn repeated_name(&self, stage: usize) -> Option<&str> {
        let name = self.stages[stage].name.as_deref()?;
        self.stages[..stage].iter().any(|other| other.name.as_deref() == Some(name)).then_some(name)
    }

    /// The last stage.
    pub(super) fn target(&self) -> usize {
        self.stages.len() - 1
    }

    /// A stage before `stage` that `--from` means, by name or number.
    pub(super) fn from(&self, stage: usize, from: &str) -> Option<usize> {
        let earlier = &self.stages[..stage];
        named(earlier, from).or_else(|| from.parse().ok().filter(|index| *index < earlier.len()))
    }

    /// Whether a stage of that name comes after this one.
    pub(super) fn is_later(&self, stage: usize, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        self.names.get(stage + 1..).is_some_and(|later| later.contains(&Some(lower)))
    }

    /// Whether the target needs the stage, by stage.
    pub(super) fn needed(&self) -> Vec<bool> {
        let mut needed = vec![false; self.stages.len()];
        needed[self.target()] = true;
        // Dependencies lead backwards only.
        for index in (0..self.stages.len()).rev() {
            if needed[index] {
                for other in self.dependencies(index) {
                    needed[other] = true;
                }
            }
        }
        needed
    }

    /// Whether a command that the target needs asks for the host's network.
    pub(super) fn runs_on_host_network(&self) -> bool {
        let asks = |instruction: &Instruction| matches!(&instruction.command, Command::Run { flags, .. } if flags.network.as_deref() == Some("host"));
        let stages = self.stages.iter().zip(self.needed());
        stages.filter(|(_, needed)| *needed).any(|(stage, _)| stage.instructions.iter().any(asks))
    }

    /// Which step of its stage an instruction is, and of how many, as BuildKit counts: what has a layer.
    pub(super) fn place(&self, stage: usize, index: usize) -> Option<(usize, usize)> {
        let stage = &self.stages[stage];
        let counts = |instruction: &Instruction| match instruction.command {
            Command::From { .. } => matches!(stage.base, Base::Image(_)),
            Command::Run { .. } | Command::Transfer(_) | Command::Workdir(_) => true,
            _ => false,
        };
        let number = |end: usize| stage.instructions[..end].iter().filter(|one| counts(one)).count();
        counts(stage.instructions.get(index)?).then(|| (number(index + 1), number(stage.instructions.len())))
    }

    /// What of the client's folder the needed stages may want; `None` is everything.
    pub(super) fn wanted(&self) -> Option<Vec<String>> {
        let mut wanted = Vec::new();
        for (stage, needed) in self.stages.iter().zip(self.needed()) {
            for instruction in stage.instructions.iter().filter(|_| needed) {
                match &instruction.command {
                    Command::Transfer(transfer) if transfer.from.is_none() => {
                        wanted.extend(transfer.sources.iter().filter(|s| is_path(s)).map(|s| cleaned(s)));
                    }
                    // Mounts show folders, and folders cannot be followed without knowing what is in them.
                    Command::Run { flags, .. }
                        if flags.mounts.iter().any(|mount| mount::from_of(mount).is_none()) =>
                    {
                        return None;
                    }
                    _ => {}
                }
            }
        }
        let plain =
            |path: &String| !path.contains(['$', '\\', '"', '\'']) && !super::tree::clean(path).is_empty();
        wanted.iter().all(plain).then_some(wanted)
    }

    fn dependencies(&self, index: usize) -> Vec<usize> {
        let stage = &self.stages[index];
        let mut found = Vec::new();
        if let Base::Stage(base) = stage.base {
            found.push(base);
        }
        for instruction in &stage.instructions {
            match &instruction.command {
                Command::Transfer(transfer) => {
                    found.extend(transfer.from.as_deref().and_then(|from| self.from(index, from)));
                }
                Command::Run { flags, .. } => {
                    let froms = flags.mounts.iter().filter_map(|mount| mount::from_of(mount));
                    found.extend(froms.filter_map(|from| self.from(index, &from)));
                }
                _ => {}
            }
        }
        found
    }
}

/// Whether a source is something in the context.
fn is_path(source: &str) -> bool {
    !source.starts_with("<<") && !matches!(Remote::of(source), Ok(Some(_)))
}

/// Climbing no higher than the root; what has to be looked at more closely stays as it is.
fn cleaned(source: &str) -> String {
    if source.contains(['$', '\\', '"', '\'']) { source.to_owned() } else { super::tree::clean(source) }
}

/// The last stage of that name.
fn named(stages: &[Stage], name: &str) -> Option<usize> {
    let lower = name.to_ascii_lowercase();
    stages.iter().rposition(|stage| stage.name.as_deref() == Some(&lower))
}

/// What is said of instructions before the first `FROM`.
pub(super) const NO_STAGE: &str = "no build stage in current context";

/// `ARG`s before the first stage, and the stages.
fn grouped(instructions: Vec<Instruction>) -> Result<(Vec<Instruction>, Vec<Vec<Instruction>>)> {
    let (mut meta, mut stages) = (Vec::new(), Vec::<Vec<Instruction>>::new());
    if instructions.is_empty() {
        return Err(EngineError::invalid("file with no instructions"));
    }
    for instruction in instructions {
        match (&instruction.command, stages.last_mut()) {
            (Command::From { .. }, _) => stages.push(vec![instruction]),
            (Command::Arg(_), None) => meta.push(instruction),
            (_, None) => return Err(EngineError::invalid(NO_STAGE)),
            (_, Some(stage)) => stage.push(instruction),
        }
    }
    match stages.is_empty() {
        true => Err(EngineError::invalid(NO_STAGE)),
        false => Ok((meta, stages)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, target: &str) -> Result<Plan> {
        let mut plan = Plan::new(&Dockerfile::parse(text)?, &mut Arguments::default())?;
        plan.stop_at(target, Namesake::Last)?;
        Ok(plan)
    }

    #[test]
    fn only_what_the_target_needs_is_needed() {
        let text = "ARG B=base\nFROM scratch AS base\nFROM $B AS tool\nFROM scratch AS unused\nFROM x AS last\n\
                    RUN --mount=from=tool,target=/t true\nFROM scratch AS after";
        let plan = plan(text, "Last").unwrap();
        assert_eq!(plan.needed(), [true, true, false, true]);
        assert_eq!(plan.stages[1].base, Base::Stage(0));
        assert_eq!(plan.stages[3].base, Base::Image("x".into()));
        assert_eq!(plan.from(3, "1"), Some(1));
        assert_eq!(plan.from(1, "1"), None, "a stage is not before itself");
        assert!(plan.is_later(3, "AFTER") && !plan.is_later(3, "last"), "known though not needed");
    }

    #[test]
    fn of_stages_with_one_name_each_builder_means_its_own() {
        let text = "FROM scratch AS x\nFROM scratch AS x\nFROM scratch";
        let (mut classic, buildkit) = (plan(text, "").unwrap(), plan(text, "X").unwrap());
        classic.stop_at("X", Namesake::First).unwrap();
        assert_eq!((classic.stages.len(), buildkit.stages.len()), (1, 2));
        assert_eq!(buildkit.names.len(), 3);
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (text, target, error) in [
            ("FROM a AS b", "c", "target stage \"c\" could not be found"),
            ("FROM a AS b", "0", "target stage \"0\" could not be found"),
            ("RUN x", "", "no build stage in current context"),
            ("FROM $NO", "", "base name ($NO) should not be blank"),
        ] {
            assert_eq!(plan(text, target).unwrap_err().to_string(), error);
        }
    }
}
