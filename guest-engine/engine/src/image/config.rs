//! An image's configuration blob, in Docker's and OCI's common form.

use crate::error::{EngineError, Result};
use bollard_stubs::models::ImageConfig;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The diff id of a layer that changes nothing: an archive of two empty blocks.
pub(crate) const EMPTY_LAYER: &str =
    "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// What a configuration blob says. The blob's bytes are what is kept; this is only read from them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConfigFile {
    pub architecture: String,
    pub os: String,
    pub variant: Option<String>,
    #[serde(rename = "os.version")]
    pub os_version: Option<String>,
    pub created: Option<String>,
    pub author: Option<String>,
    pub comment: Option<String>,
    pub config: Option<ImageConfig>,
    /// Of the container that made the image's last layer; builds recognise their steps by it.
    pub container_config: Option<ImageConfig>,
    pub rootfs: RootFs,
    pub history: Option<Vec<HistoryEntry>>,
}

/// The layers, lowest first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RootFs {
    pub diff_ids: Option<Vec<String>>,
}

/// One build step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct HistoryEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ConfigFile {
    /// Reads a blob and refuses what could not be run or would lead outside the store.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        // A struct would also be read from an array.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(EngineError::invalid("Invalid image configuration: not a JSON object"));
        }
        let config: Self = serde_json::from_slice(bytes)
            .map_err(|e| EngineError::invalid("Invalid image configuration").because(e))?;
        match config.layers().iter().find(|id| !is_sha256(id)) {
            Some(bad) => {
                Err(EngineError::invalid(format!("Invalid layer digest {bad:?} in image configuration")))
            }
            None => Ok(config),
        }
    }

    /// Diff ids of the layers, lowest first.
    pub fn layers(&self) -> &[String] {
        self.rootfs.diff_ids.as_deref().unwrap_or_default()
    }
}

/// `sha256:` of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    named(Sha256::digest(bytes).as_ref())
}

/// `sha256:` and the hash in hexadecimal.
pub(crate) fn named(hash: &[u8]) -> String {
    let hex = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = hex.map(|nibble| char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
    "sha256:".chars().chain(digits).collect()
}

/// `sha256:` and 64 hexadecimal digits.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(super::reference::is_hex_id)
}

/// Ids of the chain of layers up to each: what dockerd calls a layer by.
pub(crate) fn chain_ids(layers: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(layers.len());
    for layer in layers {
        let id = match chain.last() {
            Some(below) => digest(format!("{below} {layer}").as_bytes()),
            None => layer.clone(),
        };
        chain.push(id);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_configuration_is_read() {
        let config = ConfigFile::parse(
            br#"{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"],"ExposedPorts":{"80/tcp":{}},
                "Labels":null},"rootfs":{"type":"layers","diff_ids":[]},"history":[{"empty_layer":true}]}"#,
        )
        .unwrap();
        let run = config.config.unwrap();
        assert_eq!(run.cmd.unwrap(), ["sh"]);
        assert_eq!(run.exposed_ports.unwrap(), ["80/tcp"]);
        assert!(ConfigFile::parse(br#"{"rootfs":{"diff_ids":["sha256:../../x"]}}"#).is_err());
        assert!(ConfigFile::parse(b"[]").is_err());
    }

    #[test]
    fn chains_are_docker_chains() {
        assert_eq!(digest(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let chain = chain_ids(&["sha256:a".into(), "sha256:b".into()]);
        assert_eq!(chain, ["sha256:a".to_owned(), digest(b"sha256:a sha256:b")]);
    }
}
