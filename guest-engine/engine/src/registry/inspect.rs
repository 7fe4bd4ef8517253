//! What a registry has under a name, without pulling it.

use super::{Credentials, Document, Failure, Registries, Session};
use crate::{
    EngineError,
    error::Result,
    image::{Reference, config::ConfigFile},
    platform::Platform,
};

/// Bytes of a configuration.
const CONFIG_LIMIT: u64 = 8 << 20;

/// A manifest or an index, and what it serves.
#[derive(Clone, Debug)]
pub struct Distribution {
    pub media_type: String,
    pub digest: String,
    pub size: usize,
    pub platforms: Vec<Platform>,
}

impl Registries {
    /// Reads the manifest that `reference` means.
    pub async fn inspect(&self, reference: &Reference, credentials: &Credentials) -> Result<Distribution> {
        let reference = reference.clone().canonical();
        let mut last = EngineError::system("no endpoint for the registry");
        for endpoint in self.endpoints(reference.domain(), false).await? {
            let found = match self.connect(&endpoint, credentials).await {
                Ok(session) => look(&session, &reference).await,
                Err(failure) if endpoint.leaves_open(&failure) => {
                    last = failure.into();
                    continue;
                }
                Err(failure) => return Err(failure.into()),
            };
            match found {
                Err(failure) if endpoint.is_mirror() => last = failure.into(),
                other => return Ok(other?),
            }
        }
        Err(last)
    }
}

async fn look(session: &Session, reference: &Reference) -> Result<Distribution, Failure> {
    let wanted = reference.digest().or(reference.tag()).unwrap_or_default();
    let fetched = session.manifest(reference.path(), wanted).await?;
    let platforms = match fetched.document()? {
        Document::Index(index) => index
            .manifests()
            .iter()
            .filter_map(|descriptor| descriptor.platform().as_ref())
            .map(|platform| {
                let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
                Platform { os, architecture, variant: platform.variant().clone().unwrap_or_default() }
            })
            .collect(),
        Document::Image(manifest) => {
            let config = manifest.config();
            let digest = config.digest().to_string();
            let bytes = session.small_blob(reference.path(), &digest, config.size(), CONFIG_LIMIT).await?;
            let config = ConfigFile::parse(&bytes)?;
            let variant = config.variant.unwrap_or_default();
            vec![Platform { os: config.os, architecture: config.architecture, variant }]
        }
    };
    Ok(Distribution {
        media_type: fetched.media_type,
        digest: fetched.digest,
        size: fetched.bytes.len(),
        platforms,
    })
}
