//! A failed build as gRPC says it: the sentence, and for clients that show it the place in the Dockerfile.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bollard_buildkit_proto::google::{protobuf::Any, rpc};
use engine::{EngineError, build::buildkit::SolveFailure};
use prost::Message;
use serde_json::json;
use tonic::{Code, Status};

/// BuildKit's name for a place in a source, which it sends as JSON.
const SOURCE: &str = "github.com/moby/buildkit/errdefs.Source+json";

/// An error without a place. Clients show the code of any other than "unknown" in front of the sentence.
pub(super) fn plain(error: &EngineError) -> Status {
    Status::unknown(error.to_string())
}

/// A failed build.
pub(super) fn failed(failure: &SolveFailure) -> Status {
    let message = failure.failure.error.to_string();
    let Some((first, last)) = failure.failure.lines.filter(|_| !failure.dockerfile.is_empty()) else {
        return Status::unknown(message);
    };
    let source = json!({
        "info": { "filename": failure.name, "data": STANDARD.encode(&failure.dockerfile), "language": "Dockerfile" },
        "ranges": [{ "start": { "line": first }, "end": { "line": last } }],
    });
    let place = Any { type_url: SOURCE.to_owned(), value: source.to_string().into_bytes() };
    let code = Code::Unknown;
    let status = rpc::Status { code: code.into(), message: message.clone(), details: vec![place] };
    Status::with_details(code, message, status.encode_to_vec().into())
}

/// What a client returns as its failure, which was ours before.
pub(super) fn returned(status: &rpc::Status) -> Status {
    let code = Code::from_i32(status.code);
    Status::with_details(code, status.message.clone(), status.encode_to_vec().into())
}
