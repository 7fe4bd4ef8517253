//! Manifests: what an image consists of, and which image of several is wanted.

use super::{
    Access, Failure, Session,
    session::{describe, whole_body},
};
use crate::{
    EngineError, ErrorKind,
    image::config::digest,
    platform::{Platform, normal},
};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use reqwest::{Method, header};
use serde_json::Value;

/// Bytes of a manifest, and of a page of tags.
const LIMIT: usize = 4 << 20;
/// Of one repository.
const TAGS: usize = 100_000;

/// Docker's names and OCI's.
pub(crate) mod media_types {
    pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    pub(crate) const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1";
}

/// As it came, checked against its digest.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
    pub(crate) digest: String,
}

/// What it says.
#[derive(Debug)]
pub(crate) enum Document {
    Index(Box<ImageIndex>),
    Image(Box<ImageManifest>),
}

impl Session {
    /// Reads a manifest by tag or digest.
    pub(crate) async fn manifest(&self, name: &str, reference: &str) -> Result<Fetched, Failure> {
        let url = self.url(&format!("{name}/manifests/{reference}"))?;
        let accepted = [
            media_types::DOCKER_LIST,
            media_types::OCI_INDEX,
            media_types::DOCKER_MANIFEST,
            media_types::OCI_MANIFEST,
        ]
        .join(", ");
        let access = Access::Pull(name.to_owned());
        let response = self
            .send(Method::GET, &url, &access, |request| request.header(header::ACCEPT, &accepted))
            .await?;
        let text = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let media_type = text("content-type").unwrap_or_default();
        let stated = text("docker-content-digest");
        let bytes = whole_body(response, LIMIT, self.patience, &describe("Get", &url)).await?;
        let digest = digest(&bytes);
        let expected = if reference.starts_with("sha256:") { Some(reference.to_owned()) } else { stated };
        if let Some(expected) = expected.filter(|e| e.starts_with("sha256:") && *e != digest) {
            return Err(Failure::Content(format!(
                "manifest verification failed for digest {expected}: its content is {digest}"
            )));
        }
        Ok(Fetched { bytes, media_type, digest })
    }

    /// Every tag of a repository.
    pub(crate) async fn tags(&self, name: &str) -> Result<Vec<String>, Failure> {
        let access = Access::Pull(name.to_owned());
        let mut url = self.url(&format!("{name}/tags/list"))?;
        let mut tags = Vec::new();
        loop {
            let response = self.send(Method::GET, &url, &access, |request| request).await?;
            let next = response.headers().get(header::LINK).and_then(|value| next_page(value.to_str().ok()?));
            let next = next.and_then(|link| response.url().join(&link).ok());
            let what = describe("Get", &url);
            let body = whole_body(response, LIMIT, self.patience, &what).await?;
            let page: Value = serde_json::from_slice(&body)
                .map_err(|e| Failure::Content(format!("{what}: not understood: {e}")))?;
            let found = page["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
            tags.extend(found.map(str::to_owned));
            if tags.len() > TAGS {
                return Err(Failure::Content(format!("{what}: there are more than {TAGS} tags")));
            }
            match next {
                Some(next) if next.origin() == url.origin() && next != url => url = next,
                _ => return Ok(tags),
            }
        }
    }

    /// Gives a manifest a name.
    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let url = self.url(&format!("{name}/manifests/{reference}"))?;
        let access = Access::Push(name.to_owned());
        self.send(Method::PUT, &url, &access, |request| {
            request.header(header::CONTENT_TYPE, media_type).body(bytes.to_vec())
        })
        .await?;
        Ok(())
    }
}

impl Fetched {
    /// Reads it. What is no image is refused by name.
    pub(crate) fn document(&self) -> Result<Document, Failure> {
        let value: Value = serde_json::from_slice(&self.bytes)
            .map_err(|e| Failure::Content(format!("manifest {} is not understood: {e}", self.digest)))?;
        let inner = value["mediaType"].as_str().unwrap_or_default();
        let plain = self.media_type.split(';').next().unwrap_or_default().trim();
        let unsupported = |what: &str| {
            Failure::Ours(EngineError::new(ErrorKind::InvalidParameter, format!("unsupported {what}")))
        };
        if plain.starts_with(media_types::SCHEMA1) || value["schemaVersion"] == 1 {
            return Err(unsupported(
                "manifest: Docker Image Format v1 and Docker Image manifest version 2, schema 1 are not \
                 supported. Push the image again with a current client",
            ));
        }
        let kind = if matches!(plain, "" | "application/json" | "text/plain") { inner } else { plain };
        let failed =
            |e: serde_json::Error| Failure::Content(format!("manifest {} is not valid: {e}", self.digest));
        match kind {
            media_types::DOCKER_LIST | media_types::OCI_INDEX => {
                serde_json::from_value(value).map(Box::new).map(Document::Index).map_err(failed)
            }
            media_types::DOCKER_MANIFEST | media_types::OCI_MANIFEST => {
                let manifest: ImageManifest = serde_json::from_value(value).map_err(failed)?;
                let config = manifest.config().media_type().to_string();
                if config != media_types::DOCKER_CONFIG && config != media_types::OCI_CONFIG {
                    return Err(unsupported(&format!("media type {config}: this is not a container image")));
                }
                Ok(Document::Image(Box::new(manifest)))
            }
            other => Err(unsupported(&format!("manifest media type {other:?}"))),
        }
    }
}

/// The image of an index that serves `wanted` best.
pub(crate) fn choose<'a>(index: &'a ImageIndex, wanted: &Platform) -> Result<&'a Descriptor, Failure> {
    let offered = index.manifests().iter().filter_map(|descriptor| {
        // Who does not say what an image is for may mean everybody.
        let Some(platform) = descriptor.platform().as_ref() else { return Some((usize::MAX, descriptor)) };
        let variant = platform.variant().as_deref().unwrap_or_default();
        let platform = normal(&platform.os().to_string(), &platform.architecture().to_string(), variant);
        Some((wanted.distance(&platform)?, descriptor))
    });
    offered.min_by_key(|(distance, _)| *distance).map(|(_, descriptor)| descriptor).ok_or_else(|| {
        let why = format!("no matching manifest for {wanted} in the manifest list entries");
        Failure::Ours(EngineError::not_found(why))
    })
}

/// The target of `<…>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then(|| target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(media_type: &str, text: &str) -> Fetched {
        Fetched { bytes: text.as_bytes().to_vec(), media_type: media_type.into(), digest: "sha256:x".into() }
    }

    #[test]
    fn the_fitting_image_is_chosen_and_attestations_never_are() {
        let hex = |c: &str| c.repeat(64);
        let entry = |c: &str, os: &str, architecture: &str| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"sha256:{}","platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#,
                hex(c)
            )
        };
        let entries =
            [entry("a", "linux", "386"), entry("b", "unknown", "unknown"), entry("c", "linux", "amd64")];
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        let Ok(Document::Index(index)) = fetched(media_types::OCI_INDEX, &text).document() else { panic!() };
        let wanted = "linux/amd64".parse().unwrap();
        assert_eq!(choose(&index, &wanted).unwrap().digest().digest(), hex("c"));
        let refused = choose(&index, &"linux/s390x".parse().unwrap()).unwrap_err().to_string();
        let unsaid = entry("d", "linux", "amd64").split(r#","platform""#).next().unwrap().to_owned() + "}";
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{unsaid},{}]}}"#, entries.join(","));
        let Ok(Document::Index(open)) = fetched(media_types::OCI_INDEX, &text).document() else { panic!() };
        assert_eq!(choose(&open, &wanted).unwrap().digest().digest(), hex("c"));
        let other = "linux/s390x".parse().unwrap();
        assert_eq!(choose(&open, &other).unwrap().digest().digest(), hex("d"));
        assert_eq!(refused, "no matching manifest for linux/s390x in the manifest list entries");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let chart = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}"#;
        let refused = fetched(media_types::OCI_MANIFEST, chart).document().unwrap_err().to_string();
        assert!(refused.contains("helm") && refused.contains("not a container image"), "{refused}");
        let old =
            fetched("application/vnd.docker.distribution.manifest.v1+prettyjws", r#"{"schemaVersion":1}"#);
        assert!(old.document().unwrap_err().to_string().contains("schema 1"));
        assert_eq!(
            next_page("</v2/a/tags/list?last=b&n=2>; rel=\"next\"").unwrap(),
            "/v2/a/tags/list?last=b&n=2"
        );
    }
}
