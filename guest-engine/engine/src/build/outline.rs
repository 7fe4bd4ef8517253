//! What a Dockerfile offers to be built, and what it takes: `docker build --call targets` and `--call outline`. Pure.

use super::{
    arguments::Arguments,
    expand::word,
    instruction::{Command, Instruction},
    mount::{MountKind, parse},
    plan::Plan,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The version of both answers.
pub(crate) const VERSION: &str = "1.0.0";

/// A Dockerfile as it is and as it is understood.
pub(crate) struct Subject<'a> {
    pub(crate) text: &'a str,
    pub(crate) plan: &'a Plan,
}

impl Subject<'_> {
    /// Every stage.
    pub(crate) fn targets(&self) -> Value {
        let last = self.plan.stages.len() - 1;
        let targets: Vec<Value> = self
            .plan
            .stages
            .iter()
            .enumerate()
            .map(|(index, stage)| {
                let mut target = Map::new();
                let mut tell = |key: &str, text: &str| {
                    if !text.is_empty() {
                        target.insert(key.to_owned(), json!(text));
                    }
                };
                let name = stage.name.as_deref().unwrap_or_default();
                tell("name", name);
                let Some(Instruction { command: Command::From { image, platform, .. }, lines, .. }) =
                    stage.instructions.first()
                else {
                    return Value::Object(target);
                };
                tell("description", &self.comment(lines.0, name));
                tell("base", image);
                tell("platform", platform.as_deref().unwrap_or_default());
                if index == last {
                    target.insert("default".to_owned(), json!(true));
                }
                target.insert("location".to_owned(), location(*lines));
                Value::Object(target)
            })
            .collect();
        json!({ "targets": targets, "sources": [self.source()] })
    }

    /// Arguments, secrets and agents of the target and of what it stands on.
    pub(crate) fn outline(&self, arguments: &Arguments) -> Value {
        let needed = self.plan.needed();
        let stages =
            || self.plan.stages.iter().zip(&needed).filter(|(_, needed)| **needed).map(|(stage, _)| stage);
        let mut used = BTreeSet::new();
        let mut found = Offered::default();
        for stage in stages() {
            for instruction in &stage.instructions {
                match &instruction.command {
                    Command::From { image, platform, .. } => {
                        for text in [Some(image), platform.as_ref()].into_iter().flatten() {
                            used.extend(self.mentioned(text));
                        }
                    }
                    Command::Arg(list) => {
                        for (name, default) in list {
                            used.insert(name.clone());
                            used.extend(default.iter().flat_map(|text| self.mentioned(text)));
                            if default.is_some() || !self.is_declared_before(name) {
                                found.argument(name, default.clone(), instruction.lines);
                            }
                        }
                    }
                    Command::Run { flags, .. } => found.mounts(&flags.mounts, instruction.lines),
                    _ => {}
                }
            }
        }
        // What is declared before the stages may stand on others of these.
        for instruction in self.plan.meta.iter().rev() {
            let Command::Arg(list) = &instruction.command else { continue };
            for (name, default) in
                list.iter().rev().filter(|(name, _)| used.contains(name)).cloned().collect::<Vec<_>>()
            {
                used.extend(default.iter().flat_map(|text| self.mentioned(text)));
                found.argument(&name, default, instruction.lines);
            }
        }
        let stage = &self.plan.stages[self.plan.target()];
        let name = stage.name.as_deref().unwrap_or_default();
        let description = self.comment(stage.instructions.first().map_or(0, |from| from.lines.0), name);
        let mut outline = Map::new();
        for (key, text) in [("name", name), ("description", &description)] {
            if !text.is_empty() {
                outline.insert(key.to_owned(), json!(text));
            }
        }
        let mut list = |key: &str, entries: Vec<Value>| {
            if !entries.is_empty() {
                outline.insert(key.to_owned(), Value::Array(entries));
            }
        };
        list("args", self.arguments(found.arguments, arguments));
        list("secrets", found.secrets.iter().map(Mounted::told).collect());
        list("ssh", found.agents.iter().map(Mounted::told).collect());
        list("sources", vec![self.source()]);
        Value::Object(outline)
    }

    /// In the order of the file, with their values.
    fn arguments(&self, mut found: Vec<Argument>, given: &Arguments) -> Vec<Value> {
        found.sort_by_key(|one| one.lines);
        let mut known = given.for_from();
        let mut told = Vec::new();
        for one in found {
            let default = one.default.as_deref().map(|text| word(text, self.plan.escape, known.as_slice()));
            // What cannot be expanded is for the build to refuse.
            let value = given.given(&one.name).or_else(|| default?.ok()).unwrap_or_default();
            let description = self.comment(one.lines.0, &one.name);
            let mut entry = json!({ "name": one.name, "location": location(one.lines) });
            for (key, text) in [("description", &description), ("value", &value)] {
                if !text.is_empty() {
                    entry[key] = json!(text);
                }
            }
            known.push((one.name, value));
            told.push(entry);
        }
        told
    }

    fn is_declared_before(&self, name: &str) -> bool {
        let declares = |one: &Instruction| matches!(&one.command, Command::Arg(list) if list.iter().any(|(own, _)| own == name));
        self.plan.meta.iter().any(declares)
    }

    /// Variables that a word has in it.
    fn mentioned(&self, text: &str) -> Vec<String> {
        super::check::asked(text, self.plan.escape).into_iter().collect()
    }

    /// What the comment right above a line says of a name: `# name what it is`.
    fn comment(&self, line: usize, name: &str) -> String {
        if name.is_empty() {
            return String::new();
        }
        let lines: Vec<&str> = self.text.lines().take(line.saturating_sub(1)).collect();
        let comments = lines.iter().rev().map_while(|line| line.trim().strip_prefix('#'));
        let about = |text: &str| text.trim().strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        // The first of several counts.
        comments.filter_map(about).last().unwrap_or_default()
    }

    fn source(&self) -> Value {
        json!(STANDARD.encode(self.text))
    }
}

#[derive(Debug)]
struct Argument {
    name: String,
    default: Option<String>,
    lines: (usize, usize),
}

#[derive(Debug)]
struct Mounted {
    id: String,
    required: bool,
    lines: (usize, usize),
}

impl Mounted {
    fn told(&self) -> Value {
        let mut told = json!({ "name": self.id, "location": location(self.lines) });
        if self.required {
            told["required"] = json!(true);
        }
        told
    }
}

#[derive(Debug, Default)]
struct Offered {
    arguments: Vec<Argument>,
    secrets: Vec<Mounted>,
    agents: Vec<Mounted>,
}

impl Offered {
    /// Each name once: where it was declared first.
    fn argument(&mut self, name: &str, default: Option<String>, lines: (usize, usize)) {
        if !self.arguments.iter().any(|known| known.name == name) {
            self.arguments.push(Argument { name: name.to_owned(), default, lines });
        }
    }

    fn mounts(&mut self, mounts: &[String], lines: (usize, usize)) {
        // What cannot be read is for the build to refuse.
        for mount in mounts.iter().filter_map(|text| parse(text).ok()) {
            let (list, id, required) = match mount.kind {
                MountKind::Secret { id, required, .. } => (&mut self.secrets, id, required),
                MountKind::Ssh { id, required, .. } => (&mut self.agents, id, required),
                _ => continue,
            };
            if !list.iter().any(|known| known.id == id) {
                list.push(Mounted { id, required, lines });
            }
        }
    }
}

/// Lines as BuildKit's clients read them.
pub(crate) fn location(lines: (usize, usize)) -> Value {
    json!({ "ranges": [{ "start": { "line": lines.0 }, "end": { "line": lines.1 } }] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{dockerfile::Dockerfile, plan::Namesake};

    const TEXT: &str = "# GV the version\nARG GV=1\nARG UNUSED=u\nARG GX=${GV}x\n# base is the first\n\
        FROM busybox:$GX AS base\n# A is an arg\nARG A=a\nARG B\nARG GV\n\
        RUN --mount=type=secret,id=s --mount=type=secret,id=t,required --mount=type=ssh true\n\
        FROM scratch\nARG NOT\n# other\n# last does this\nFROM --platform=$BUILDPLATFORM base AS Last\nARG C=$A-c\n";

    fn with<T>(target: &str, look: impl FnOnce(&Subject<'_>, &Arguments) -> T) -> T {
        let dockerfile = Dockerfile::parse(TEXT).unwrap();
        let mut arguments = Arguments::new([("B".to_owned(), Some("given".to_owned()))].into());
        let mut plan = Plan::new(&dockerfile, &mut arguments).unwrap();
        plan.stop_at(target, Namesake::Last).unwrap();
        look(&Subject { text: TEXT, plan: &plan }, &arguments)
    }

    #[test]
    fn targets_are_all_stages() {
        let told = with("", |subject, _| subject.targets());
        let targets = told["targets"].as_array().unwrap();
        assert_eq!(
            targets[0],
            json!({ "name": "base", "description": "is the first", "base": "busybox:$GX", "location": location((6, 6)) })
        );
        assert_eq!(targets[1], json!({ "base": "scratch", "location": location((12, 12)) }));
        assert_eq!((&targets[2]["description"], &targets[2]["default"]), (&json!("does this"), &json!(true)));
        assert_eq!(targets[2]["platform"], "$BUILDPLATFORM");
        assert_eq!(told["sources"][0], STANDARD.encode(TEXT));
    }

    #[test]
    fn an_outline_is_what_the_target_needs() {
        let told = with("last", |subject, arguments| subject.outline(arguments));
        let args: Vec<_> =
            told["args"].as_array().unwrap().iter().map(|one| (&one["name"], &one["value"])).collect();
        let expected = [
            ("GV", json!("1")),
            ("GX", json!("1x")),
            ("A", json!("a")),
            ("B", json!("given")),
            ("C", json!("a-c")),
        ];
        assert_eq!(args.len(), expected.len(), "{args:?}");
        for ((name, value), (expected, held)) in args.iter().zip(&expected) {
            assert_eq!((name.as_str(), *value), (Some(*expected), held));
        }
        assert_eq!((&told["name"], &told["description"]), (&json!("last"), &json!("does this")));
        assert_eq!(told["args"][0]["description"], "the version");
        assert_eq!(
            told["secrets"][1],
            json!({ "name": "t", "required": true, "location": location((11, 11)) })
        );
        assert_eq!(told["ssh"][0]["name"], "default");
    }
}
