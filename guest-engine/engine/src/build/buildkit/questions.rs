//! Questions about a Dockerfile that are answered without building: `docker build --call` and `--check`, and what
//! the linter has to say beside a build.

use super::{
    BuildClient, SolveFailure, SolveRequest, Watcher,
    definition::{Definition, Understood, plan, with_line},
    progress::{Excerpt, Notice, Teller},
};
use crate::{
    build::{
        BuildFailure, Builder,
        check::{self, Around, Warning, Wishes},
        ignore::Ignore,
        outline::{Subject, VERSION, location},
        plan::Base,
    },
    error::{EngineError, Result},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bollard_stubs::models::ImageConfig;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// Lines that are shown around those that a warning is about.
const AROUND: usize = 4;

/// An answer's parts by their names.
pub type Told = BTreeMap<String, Vec<u8>>;

impl Builder {
    /// Answers `frontend.targets` and its like.
    pub async fn answer(
        &self,
        question: &str,
        request: &SolveRequest,
        client: &dyn BuildClient,
        watcher: Arc<dyn Watcher>,
        cancel: CancellationToken,
    ) -> Result<Told, SolveFailure> {
        let teller = Teller::new(watcher, &request.id);
        let workspace = self.workspace().await?;
        let definition = self.definition(request, client, &teller, &workspace, &cancel).await?;
        let target = if question == "frontend.outline" { request.build.target.as_str() } else { "" };
        let planned = plan(request, &definition.dockerfile, target).map_err(with_line);
        let located = |failure| definition.failed(request, failure);
        let text = definition.dockerfile.as_str();
        match question {
            "frontend.targets" => {
                let understood = planned.map_err(located)?;
                Ok(told(&Subject { text, plan: &understood.plan }.targets()))
            }
            "frontend.outline" => {
                let understood = planned.map_err(located)?;
                let outline = Subject { text, plan: &understood.plan }.outline(&understood.arguments);
                Ok(told(&outline))
            }
            "frontend.lint" => {
                let checked = match planned {
                    Ok(understood) => {
                        let all = vec![true; understood.plan.stages.len()];
                        self.checked(request, &definition, &understood, &all).await.map(|(found, _)| found)
                    }
                    Err(failure) => Err(failure),
                };
                Ok(linted(&request.build.dockerfile, text, checked))
            }
            "frontend.subrequests.describe" => Ok(told(&described())),
            other => Err(EngineError::invalid(format!("unsupported request {other}")).into()),
        }
    }

    /// Tells what the linter has to say, and fails if the Dockerfile wants that.
    pub(super) async fn lint(
        &self,
        request: &SolveRequest,
        definition: &Definition,
        understood: &Understood,
        teller: &Teller,
    ) -> Result<(), BuildFailure> {
        let needed = understood.plan.needed();
        let (found, wishes) = self.checked(request, definition, understood, &needed).await?;
        let text: Arc<str> = definition.dockerfile.as_str().into();
        for warning in &found {
            teller.warn(Notice {
                vertex: definition.vertex.clone(),
                text: format!("{}: {} (line {})", warning.rule.name, warning.detail, warning.lines.0),
                detail: warning.rule.description.to_owned(),
                url: warning.rule.url(),
                place: Some(Excerpt {
                    file: request.build.dockerfile.clone(),
                    text: Arc::clone(&text),
                    lines: warning.lines,
                }),
            });
        }
        if !wishes.error || found.is_empty() {
            return Ok(());
        }
        let rules: BTreeSet<&str> = found.iter().map(|warning| warning.rule.name).collect();
        let rules = rules.into_iter().collect::<Vec<_>>().join(", ");
        Err(EngineError::invalid(format!("lint violation found for rules: {rules}")).into())
    }

    async fn checked(
        &self,
        request: &SolveRequest,
        definition: &Definition,
        understood: &Understood,
        stages: &[bool],
    ) -> Result<(Vec<Warning>, Wishes), BuildFailure> {
        let Understood { dockerfile, plan, arguments } = understood;
        let asked = request.build.arguments.get("BUILDKIT_DOCKERFILE_CHECK").cloned().flatten();
        let wishes =
            Wishes::parse(asked.or_else(|| dockerfile.check.clone()).as_deref().unwrap_or_default())?;
        let mut bases = BTreeMap::<String, ImageConfig>::new();
        for stage in &plan.stages {
            // One that is not here is not pulled for this.
            if let Base::Image(image) = &stage.base
                && let Ok(found) = self.images.get(image).await
            {
                bases.insert(image.clone(), found.config.config.clone().unwrap_or_default());
            }
        }
        let ignore = Ignore::parse(&definition.ignore.join("\n"));
        let around = Around { stages, arguments, ignore: &ignore, bases: &bases };
        Ok((check::check(&definition.dockerfile, dockerfile, plan, &around, &wishes), wishes))
    }
}

fn told(answer: &Value) -> Told {
    BTreeMap::from([
        ("result.json".to_owned(), format!("{answer:#}").into_bytes()),
        ("version".to_owned(), VERSION.into()),
    ])
}

/// For programs and for people; the code is what a check ends with.
fn linted(name: &str, text: &str, checked: Result<Vec<Warning>, BuildFailure>) -> Told {
    let (found, failure) = match checked {
        Ok(found) => (found, None),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    let warning = |found: &Warning| {
        json!({
            "ruleName": found.rule.name,
            "description": found.rule.description,
            "url": found.rule.url(),
            "detail": found.detail,
            "location": location(found.lines),
        })
    };
    let mut json = json!({
        "warnings": found.iter().map(warning).collect::<Vec<_>>(),
        "sources": [{ "filename": name, "language": "Dockerfile", "data": STANDARD.encode(text) }],
    });
    let mut shown = String::new();
    for found in &found {
        shown.push_str(&format!("\nWARNING: {} - {}\n{}\n", found.rule.name, found.rule.url(), found.detail));
        shown.push_str(&excerpt(name, text, found.lines));
    }
    if let Some(failure) = &failure {
        let lines = failure.lines.unwrap_or((1, 1));
        json["buildError"] = json!({ "message": failure.error.to_string(), "location": location(lines) });
        shown.push_str(&format!("\nERROR: {}\n{}", failure.error, excerpt(name, text, lines)));
    }
    let code = if found.is_empty() && failure.is_none() { "0" } else { "1" };
    let mut answer = told(&json);
    answer.insert("result.txt".to_owned(), shown.into_bytes());
    answer.insert("result.statuscode".to_owned(), code.into());
    answer
}

/// The lines and some around them.
fn excerpt(name: &str, text: &str, (first, last): (usize, usize)) -> String {
    const RULE: &str = "--------------------";
    let lines: Vec<&str> = text.split('\n').collect();
    let (begin, end) = (first.saturating_sub(AROUND / 2).max(1), (last + AROUND / 2).min(lines.len()));
    let mut shown = format!("\n{name}:{first}\n{RULE}\n");
    for number in begin..=end {
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        shown.push_str(&format!(" {number:3} | {mark} {}\n", lines[number - 1]));
    }
    format!("{shown}{RULE}\n")
}

/// Which questions there are.
fn described() -> Value {
    let parts = |names: &[&str]| {
        names.iter().map(|name| json!({ "name": name, "description": "" })).collect::<Vec<_>>()
    };
    let one = |name: &str, description: &str, options: Value, metadata: Vec<Value>| {
        json!({
            "name": name, "version": VERSION, "type": "rpc", "description": description, "opts": options,
            "inputs": null, "metadata": metadata, "refs": null,
        })
    };
    let target = json!([{ "name": "target", "description": "Target build stage" }]);
    json!([
        one(
            "frontend.outline",
            "List all parameters current build target supports",
            target,
            parts(&["result.json"])
        ),
        one(
            "frontend.targets",
            "List all targets current build supports",
            json!([]),
            parts(&["result.json"])
        ),
        one(
            "frontend.lint",
            "Lint a Dockerfile",
            json!([]),
            parts(&["result.json", "result.txt", "result.statuscode"])
        ),
        one(
            "frontend.subrequests.describe",
            "List available subrequest types",
            Value::Null,
            parts(&["result.json"])
        ),
    ])
}
