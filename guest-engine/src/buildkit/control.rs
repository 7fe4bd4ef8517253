//! `moby.buildkit.v1.Control`: builds, their progress, and the cache.

use super::{BuildKit, bridge, bridge::Outcome, builds::Job, export, failure, feed::stamp, request};
use bollard_buildkit_proto::{
    moby::buildkit::v1::{
        BuildHistoryEvent, BuildHistoryRequest, BytesMessage, DiskUsageRequest, DiskUsageResponse,
        InfoRequest, InfoResponse, ListWorkersRequest, ListWorkersResponse, PruneRequest, SolveRequest,
        SolveResponse, StatusRequest, StatusResponse, UpdateBuildHistoryRequest, UpdateBuildHistoryResponse,
        UsageRecord, control_server,
        types::{BuildkitVersion, WorkerRecord},
    },
    pb::Platform,
};
use engine::build::buildkit::{self, Usage, UsageFilter};
use futures_util::stream::{self, BoxStream};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = BoxStream<'static, Result<T, Status>>;

/// What `--allow` calls it.
const HOST_NETWORK: &str = "network.host";

#[derive(Debug)]
pub(super) struct Control(pub(super) Arc<BuildKit>);

#[tonic::async_trait]
impl control_server::Control for Control {
    type PruneStream = Stream<UsageRecord>;
    type StatusStream = Stream<StatusResponse>;
    type SessionStream = Stream<BytesMessage>;
    type ListenBuildHistoryStream = Stream<BuildHistoryEvent>;

    async fn solve(&self, request: Request<SolveRequest>) -> Answer<SolveResponse> {
        let request = request.into_inner();
        let session = match request.session.as_str() {
            "" => None,
            id => Some(self.0.sessions.get(id).await?),
        };
        let caches = request::Caches::of(request.cache.as_ref()).map_err(|error| failure::plain(&error))?;
        let host_network = allowances(&request.entitlements)?;
        let (job, returned) = Job::new(request.r#ref.clone(), session.clone(), caches, host_network);
        let running = self.0.builds.begin(Arc::clone(&job));
        let solve = async {
            if !request.frontend.is_empty() {
                let outcome = bridge::build(
                    &self.0,
                    &job,
                    &request.frontend,
                    &request.frontend_attrs,
                    &request.frontend_inputs,
                )
                .await?;
                return Ok(match outcome {
                    Outcome::Built(solved) => Some(solved),
                    Outcome::Told(_) => None,
                });
            }
            // The client drives the build by further calls.
            match returned.await {
                Ok(Ok(solved)) => Ok(solved),
                Ok(Err(status)) => Err(failure::returned(&status)),
                Err(_) => Err(Status::unknown("the build ended without a result")),
            }
        };
        let gone = async {
            match &session {
                Some(session) => session.gone.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let solved = tokio::select! {
            solved = solve => solved?,
            () = gone => return Err(Status::cancelled("the client's session ended")),
        };
        let exporter_response = export::export(&self.0, &job, &request, solved.as_deref()).await?;
        drop(running);
        Ok(Response::new(SolveResponse { exporter_response }))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Answer<Self::StatusStream> {
        let job = self.0.builds.get(&request.into_inner().r#ref).await?;
        Ok(Response::new(Box::pin(Arc::clone(&job.feed).stream())))
    }

    async fn list_workers(&self, _: Request<ListWorkersRequest>) -> Answer<ListWorkersResponse> {
        Ok(Response::new(ListWorkersResponse { record: vec![worker(&self.0)] }))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Answer<InfoResponse> {
        Ok(Response::new(InfoResponse { buildkit_version: Some(version()) }))
    }

    async fn disk_usage(&self, request: Request<DiskUsageRequest>) -> Answer<DiskUsageResponse> {
        let filters = filters(&request.into_inner().filter, "diskusage")?;
        let usage = self.0.engine.builder.usage(&filters).await.map_err(|error| failure::plain(&error))?;
        Ok(Response::new(DiskUsageResponse { record: usage.into_iter().map(record).collect() }))
    }

    async fn prune(&self, request: Request<PruneRequest>) -> Answer<Self::PruneStream> {
        let asked = request.into_inner();
        let mut prune = buildkit::PruneRequest { all: asked.all, ..buildkit::PruneRequest::default() };
        if asked.keep_duration > 0 {
            let kept = Duration::from_nanos(u64::try_from(asked.keep_duration).unwrap_or(0));
            let since = SystemTime::now() - kept;
            let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            prune.unused_since = i64::try_from(since).ok();
        }
        if asked.min_free_space > 0 {
            return Err(Status::unimplemented("--min-free-space is not supported by this engine"));
        }
        // At most the one, and never less than the other.
        prune.keep_bytes = u64::try_from(asked.max_used_space.max(asked.reserved_space)).unwrap_or(0);
        prune.filters = filters(&asked.filter, "prune")?;
        let pruned = self.0.engine.builder.prune(&prune).await;
        let (removed, _) = pruned.map_err(|error| failure::plain(&error))?;
        Ok(Response::new(Box::pin(stream::iter(removed.into_iter().map(|usage| Ok(record(usage)))))))
    }

    async fn session(&self, _: Request<Streaming<BytesMessage>>) -> Answer<Self::SessionStream> {
        Err(Status::unimplemented("sessions come by POST /session"))
    }

    async fn listen_build_history(
        &self,
        _: Request<BuildHistoryRequest>,
    ) -> Answer<Self::ListenBuildHistoryStream> {
        Err(Status::unimplemented("this engine keeps no history of builds"))
    }

    async fn update_build_history(
        &self,
        _: Request<UpdateBuildHistoryRequest>,
    ) -> Answer<UpdateBuildHistoryResponse> {
        Err(Status::unimplemented("this engine keeps no history of builds"))
    }
}

/// The one who builds: this engine.
pub(super) fn worker(shared: &BuildKit) -> WorkerRecord {
    let mut labels = std::collections::HashMap::from([
        ("org.mobyproject.buildkit.worker.executor".to_owned(), "containerd".to_owned()),
        ("org.mobyproject.buildkit.worker.snapshotter".to_owned(), "overlay".to_owned()),
    ]);
    // buildx itself puts it in the place of `--add-host NAME:host-gateway`.
    if let Some(address) = shared.engine.networks.host_gateway() {
        labels.insert("org.mobyproject.buildkit.worker.moby.host-gateway-ip".to_owned(), address.to_string());
    }
    WorkerRecord {
        id: shared.engine.system.id.clone(),
        labels,
        platforms: vec![Platform {
            os: "linux".to_owned(),
            architecture: shared.engine.system.architecture().to_owned(),
            ..Platform::default()
        }],
        buildkit_version: Some(version()),
        ..WorkerRecord::default()
    }
}

fn version() -> BuildkitVersion {
    BuildkitVersion {
        package: "machine".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: String::new(),
    }
}

/// Whether the client allows commands the host's network; nothing else may be allowed them.
fn allowances(entitlements: &[String]) -> Result<bool, Status> {
    match entitlements.iter().find(|name| *name != HOST_NETWORK) {
        Some(other) => Err(Status::unknown(format!(
            "granting entitlement {other} is not allowed by build daemon configuration"
        ))),
        None => Ok(!entitlements.is_empty()),
    }
}

fn filters(texts: &[String], what: &str) -> Result<Vec<UsageFilter>, Status> {
    let texts = texts.iter().filter(|text| !text.is_empty());
    texts
        .map(|text| UsageFilter::parse(text))
        .collect::<engine::error::Result<_>>()
        .map_err(|error| Status::unknown(format!("failed to parse {what} filters: {error}")))
}

fn record(usage: Usage) -> UsageRecord {
    let moment = |seconds: i64| stamp(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    UsageRecord {
        id: usage.id,
        mutable: usage.kind.is_mutable(),
        in_use: usage.in_use,
        size: i64::try_from(usage.size).unwrap_or(i64::MAX),
        created_at: Some(stamp(usage.created.into())),
        last_used_at: Some(moment(usage.used_at)),
        usage_count: i64::try_from(usage.uses).unwrap_or(i64::MAX),
        description: usage.description,
        record_type: usage.kind.name().to_owned(),
        shared: usage.shared,
        parents: usage.parent.into_iter().collect(),
        ..UsageRecord::default()
    }
}
