//! What a fake registry takes: uploads in pieces, mounts, manifests.

use super::{
    FakeRegistry, Fault, digest,
    wire::{Connection, Request, read_body, respond},
};
use anyhow::Result;

/// Bytes of one upload.
const MOST: usize = 64 << 20;

impl FakeRegistry {
    /// Answers what changes something. `None` for other requests.
    pub(super) fn take(
        &self,
        request: &Request,
        fault: Option<&Fault>,
        connection: &mut Connection,
    ) -> Result<Option<bool>> {
        let method = request.method.as_str();
        if let ("GET", Some((_, upload))) = (method, request.path.split_once("/blobs/uploads/")) {
            let there = self.uploaded(upload).saturating_sub(1);
            let location = format!("Location: {}?_state=z\r\nRange: 0-{there}\r\n", request.path);
            return respond(connection, method, 204, &location, b"").map(Some);
        }
        if !matches!(method, "POST" | "PATCH" | "PUT" | "DELETE") {
            return Ok(None);
        }
        if let Some(Fault::Cut(after)) = fault {
            let mut body = read_body(connection, request, *after)?;
            body.truncate(*after);
            if let Some((_, upload)) = request.path.split_once("/blobs/uploads/") {
                self.add_to_upload(upload, &body);
            }
            return Ok(Some(false));
        }
        let body = read_body(connection, request, MOST)?;
        if let Some(Fault::Status(code, retry)) = fault {
            let retry = retry.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
            return respond(connection, method, *code, &retry, b"").map(Some);
        }
        let query = |key: &str| {
            let pair = request.query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
            pair.map(|value| value.replace("%3A", ":").replace("%2F", "/"))
        };
        let path = request.path.as_str();
        if let Some((name, reference)) = path.strip_prefix("/v2/").and_then(|p| p.split_once("/manifests/")) {
            let media_type = request.headers.get("content-type").cloned().unwrap_or_default();
            let digest = digest(&body);
            for reference in [reference, &digest] {
                self.put(&format!("/v2/{name}/manifests/{reference}"), &media_type, &body);
            }
            return respond(connection, method, 201, "Location: /\r\n", b"").map(Some);
        }
        let Some((name, upload)) = path.strip_prefix("/v2/").and_then(|p| p.split_once("/blobs/uploads/"))
        else {
            return respond(connection, method, 405, "", b"").map(Some);
        };
        let created = |blob: &str| format!("Location: /v2/{name}/blobs/{blob}\r\n");
        match (method, query("digest")) {
            ("POST", _) => {
                if let (Some(blob), Some(from)) = (query("mount"), query("from")) {
                    let known = self.content(&format!("/v2/{from}/blobs/{blob}"));
                    if let Some((media_type, bytes)) = known {
                        self.put(&format!("/v2/{name}/blobs/{blob}"), &media_type, &bytes);
                        return respond(connection, method, 201, &created(&blob), b"").map(Some);
                    }
                }
                let number = self.begin_upload();
                // Relative, and with a state of its own: both are allowed.
                let location = format!("Location: /v2/{name}/blobs/uploads/{number}?_state=x\r\n");
                respond(connection, method, 202, &location, b"").map(Some)
            }
            ("PATCH", _) => {
                self.add_to_upload(upload, &body);
                let location = format!("Location: /v2/{name}/blobs/uploads/{upload}?_state=y\r\n");
                respond(connection, method, 202, &location, b"").map(Some)
            }
            ("PUT", Some(wanted)) => {
                self.add_to_upload(upload, &body);
                let bytes = self.end_upload(upload);
                if digest(&bytes) != wanted {
                    let body = br#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#;
                    return respond(connection, method, 400, "", body).map(Some);
                }
                self.put(&format!("/v2/{name}/blobs/{wanted}"), "application/octet-stream", &bytes);
                respond(connection, method, 201, &created(&wanted), b"").map(Some)
            }
            _ => {
                self.end_upload(upload);
                respond(connection, method, 204, "", b"").map(Some)
            }
        }
    }
}
