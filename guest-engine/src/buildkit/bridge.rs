//! `moby.buildkit.v1.frontend.LLBBridge`: what buildx calls while its build is open.

use super::{BuildKit, builds::Job, control::worker, failure, inputs, request};
use bollard_buildkit_proto::{
    moby::buildkit::v1::{
        apicaps::ApiCap,
        frontend::{
            EvaluateRequest, EvaluateResponse, ExecMessage, InputsRequest, InputsResponse,
            NewContainerRequest, NewContainerResponse, PingRequest, PongResponse, ReadDirRequest,
            ReadDirResponse, ReadFileRequest, ReadFileResponse, Ref, ReleaseContainerRequest,
            ReleaseContainerResponse, ResolveImageConfigRequest, ResolveImageConfigResponse,
            ResolveSourceMetaRequest, ResolveSourceMetaResponse, Result as FrontendResult, ReturnRequest,
            ReturnResponse, SolveRequest, SolveResponse, StatFileRequest, StatFileResponse, WarnRequest,
            WarnResponse, llb_bridge_server::LlbBridge, result,
        },
    },
    pb::Definition,
};
use engine::build::buildkit::{Event, Notice, Solved, Told, Watcher};
use futures_util::stream::BoxStream;
use std::{collections::HashMap, sync::Arc};
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;

/// The metadata that names the build a call belongs to.
const BUILD: &str = "buildkit-controlapi-buildid";
/// What clients may rely on.
const ABILITIES: [&str; 11] = [
    "solve.base",
    "solve.inlinereturn",
    "return",
    "returnmap",
    "proto.refarray",
    "gateway.solve.metadata",
    "gateway.solve.evaluate",
    "gateway.warnings",
    "frontend.inputs",
    "reference.output",
    "gateway.evaluate",
];
/// What clients look for before they ask for it by the attributes of a build.
const SOURCES: [&str; 12] = [
    "source.image",
    "source.http",
    "source.http.checksum",
    "source.git",
    "source.git.subdir",
    "source.local",
    "source.local.unique",
    "source.local.sessionid",
    "source.local.includepatterns",
    "source.local.followpaths",
    "source.local.excludepatterns",
    "source.local.sharedkeyhint",
];

#[derive(Debug)]
pub(super) struct Bridge(pub(super) Arc<BuildKit>);

impl Bridge {
    async fn job<T>(&self, request: &Request<T>) -> Result<Arc<Job>, Status> {
        let id = request.metadata().get(BUILD).and_then(|value| value.to_str().ok());
        let id = id.ok_or_else(|| Status::unknown("no buildid found in context"))?;
        self.0.builds.get(id).await
    }
}

#[tonic::async_trait]
impl LlbBridge for Bridge {
    type ExecProcessStream = BoxStream<'static, Result<ExecMessage, Status>>;

    async fn ping(&self, request: Request<PingRequest>) -> Answer<PongResponse> {
        self.job(&request).await?;
        let list = |ids: &[&str]| {
            ids.iter().map(|id| ApiCap { id: (*id).to_owned(), enabled: true, ..ApiCap::default() }).collect()
        };
        Ok(Response::new(PongResponse {
            frontend_api_caps: list(&ABILITIES),
            llb_caps: list(&SOURCES),
            workers: vec![worker(&self.0)],
        }))
    }

    async fn solve(&self, request: Request<SolveRequest>) -> Answer<SolveResponse> {
        let job = self.job(&request).await?;
        let request = request.into_inner();
        if request.definition.is_some_and(|definition| !definition.def.is_empty()) {
            return Err(Status::unknown(
                "builds given as LLB are not supported by this engine: it builds Dockerfiles",
            ));
        }
        if request.frontend.is_empty() {
            return Ok(Response::new(solved_as(String::new())));
        }
        let outcome =
            build(&self.0, &job, &request.frontend, &request.frontend_opt, &request.frontend_inputs).await?;
        match outcome {
            Outcome::Built(solved) => {
                let name = format!("{}::{}", job.id, job.count());
                job.keep(name.clone(), solved);
                Ok(Response::new(solved_as(name)))
            }
            Outcome::Told(answer) => {
                let metadata = answer.into_iter().collect();
                let result = Some(FrontendResult { metadata, ..FrontendResult::default() });
                Ok(Response::new(SolveResponse { result, ..SolveResponse::default() }))
            }
        }
    }

    async fn r#return(&self, request: Request<ReturnRequest>) -> Answer<ReturnResponse> {
        let job = self.job(&request).await?;
        let request = request.into_inner();
        if let Some(error) = request.error {
            job.finish(Err(error));
            return Ok(Response::new(ReturnResponse {}));
        }
        let name = match request.result.and_then(|outcome| outcome.result) {
            Some(result::Result::Ref(one)) => one.id,
            Some(result::Result::RefDeprecated(id)) => id,
            Some(result::Result::Refs(map)) => match map.refs.into_values().next() {
                Some(one) => one.id,
                None => String::new(),
            },
            Some(result::Result::RefsDeprecated(map)) => map.refs.into_values().next().unwrap_or_default(),
            None => String::new(),
        };
        job.finish(Ok(job.result(&name)));
        Ok(Response::new(ReturnResponse {}))
    }

    async fn evaluate(&self, _: Request<EvaluateRequest>) -> Answer<EvaluateResponse> {
        // Everything is built when `solve` answers.
        Ok(Response::new(EvaluateResponse {}))
    }

    async fn warn(&self, request: Request<WarnRequest>) -> Answer<WarnResponse> {
        let job = self.job(&request).await?;
        let request = request.into_inner();
        let text = String::from_utf8_lossy(&request.short).into_owned();
        job.feed.tell(Event::Warning(Notice { vertex: request.digest, text, ..Notice::default() }));
        Ok(Response::new(WarnResponse {}))
    }

    async fn inputs(&self, _: Request<InputsRequest>) -> Answer<InputsResponse> {
        Ok(Response::new(InputsResponse::default()))
    }

    async fn resolve_image_config(
        &self,
        _: Request<ResolveImageConfigRequest>,
    ) -> Answer<ResolveImageConfigResponse> {
        Err(only_builds())
    }

    async fn resolve_source_meta(
        &self,
        _: Request<ResolveSourceMetaRequest>,
    ) -> Answer<ResolveSourceMetaResponse> {
        Err(only_builds())
    }

    async fn read_file(&self, _: Request<ReadFileRequest>) -> Answer<ReadFileResponse> {
        Err(only_builds())
    }

    async fn read_dir(&self, _: Request<ReadDirRequest>) -> Answer<ReadDirResponse> {
        Err(only_builds())
    }

    async fn stat_file(&self, _: Request<StatFileRequest>) -> Answer<StatFileResponse> {
        Err(only_builds())
    }

    async fn new_container(&self, _: Request<NewContainerRequest>) -> Answer<NewContainerResponse> {
        Err(only_builds())
    }

    async fn release_container(
        &self,
        _: Request<ReleaseContainerRequest>,
    ) -> Answer<ReleaseContainerResponse> {
        Err(only_builds())
    }

    async fn exec_process(&self, _: Request<Streaming<ExecMessage>>) -> Answer<Self::ExecProcessStream> {
        Err(only_builds())
    }

    async fn read_file_container(&self, _: Request<ReadFileRequest>) -> Answer<ReadFileResponse> {
        Err(only_builds())
    }

    async fn read_dir_container(&self, _: Request<ReadDirRequest>) -> Answer<ReadDirResponse> {
        Err(only_builds())
    }

    async fn stat_file_container(&self, _: Request<StatFileRequest>) -> Answer<StatFileResponse> {
        Err(only_builds())
    }
}

/// What a frontend was asked for.
pub(super) enum Outcome {
    Built(Arc<Solved>),
    /// The answer to a question, without a build.
    Told(Told),
}

/// Builds by a frontend's attributes. Goes on, to its orderly end, in a task of its own when the caller goes.
pub(super) async fn build(
    shared: &Arc<BuildKit>,
    job: &Arc<Job>,
    frontend: &str,
    attributes: &HashMap<String, String>,
    given: &HashMap<String, Definition>,
) -> Result<Outcome, Status> {
    match frontend {
        "dockerfile.v0" => {}
        // The frontend that an image holds.
        "gateway.v0" => engine::build::buildkit::own_frontend(
            attributes.get("source").map(String::as_str).unwrap_or_default(),
        )
        .map_err(|error| failure::plain(&error))?,
        other => {
            return Err(Status::unknown(format!(
                "the frontend {other} is not supported by this engine: it builds Dockerfiles"
            )));
        }
    }
    let mut request = request::of(&job.id, attributes).map_err(|error| failure::plain(&error))?;
    request.inputs = inputs::inputs(shared, given).await?;
    let mut caches = job.caches.clone();
    caches.add(attributes);
    request.warnings.extend(caches.warnings);
    request.cache_from = caches.from;
    request.host_network = job.host_network;
    let Some(session) = job.session.clone() else {
        return Err(Status::unknown("a build needs a session to get its files from"));
    };
    let cancel = job.cancel.child_token();
    let guard = cancel.clone().drop_guard();
    let (builder, feed) = (Arc::clone(&shared.engine.builder), Arc::clone(&job.feed));
    let question = attributes.get("requestid").filter(|question| !question.is_empty()).cloned();
    let task = tokio::spawn(async move {
        match question {
            Some(question) => {
                builder.answer(&question, &request, &*session, feed, cancel).await.map(Outcome::Told)
            }
            None => {
                let solved = builder.solve(&request, &*session, feed, cancel).await;
                solved.map(|solved| Outcome::Built(Arc::new(solved)))
            }
        }
    });
    let solved = task.await;
    drop(guard.disarm());
    match solved {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(failure)) => Err(failure::failed(&failure)),
        Err(error) => Err(Status::unknown(format!("The build ended early: {error}"))),
    }
}

fn solved_as(name: String) -> SolveResponse {
    let def = (!name.is_empty()).then(|| inputs::definition(&name));
    let one = Ref { id: name, def };
    SolveResponse {
        r#ref: String::new(),
        result: Some(FrontendResult { result: Some(result::Result::Ref(one)), ..FrontendResult::default() }),
    }
}

fn only_builds() -> Status {
    Status::unimplemented("this engine serves whole builds, and not their parts")
}
