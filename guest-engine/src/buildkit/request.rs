//! What a client's attributes ask of a build.

use bollard_buildkit_proto::moby::buildkit::v1::CacheOptions;
use bollard_stubs::models::{HostConfig, ResourcesUlimits};
use engine::{
    EngineError,
    build::{BuildRequest, buildkit::SolveRequest},
    error::Result,
};
use std::collections::HashMap;

/// Where clients put what came on their stdin.
const UPLOADED: &str = "http://buildkit-session";

/// Attributes of the Dockerfile frontend as a request.
pub(super) fn of(id: &str, attributes: &HashMap<String, String>) -> Result<SolveRequest> {
    let text = |key: &str| attributes.get(key).map(String::as_str).unwrap_or_default();
    let or = |key: &str, default: &str| match text(key) {
        "" => default.to_owned(),
        given => given.to_owned(),
    };
    let list = |key: &str| -> Vec<String> {
        text(key).split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect()
    };
    if list("platform").len() > 1 {
        return Err(EngineError::not_implemented(
            "Multi-platform build is not supported by this engine: build for one platform at a time",
        ));
    }
    if !text("contextsubdir").is_empty() {
        return Err(EngineError::not_implemented(
            "a folder of a remote context is not supported by this engine",
        ));
    }
    let (mut upload, mut remote) = (None, None);
    match (text("context"), text("context").strip_prefix(UPLOADED)) {
        ("", _) => {}
        (_, Some(path)) => upload = Some(path.to_owned()),
        (url, None) => remote = Some(url.to_owned()),
    }
    let mut build = BuildRequest {
        dockerfile: or("filename", "Dockerfile"),
        target: text("target").to_owned(),
        no_cache: attributes.get("no-cache").is_some_and(String::is_empty),
        no_cache_stages: list("no-cache").into_iter().map(|name| name.to_ascii_lowercase()).collect(),
        pull: text("image-resolve-mode") == "pull",
        platform: text("platform").to_owned(),
        host: host(attributes)?,
        ..BuildRequest::default()
    };
    let (mut contexts, mut warnings) = (std::collections::BTreeMap::new(), Vec::new());
    for (key, value) in attributes {
        if let Some(name) = key.strip_prefix("build-arg:") {
            build.arguments.insert(name.to_owned(), Some(value.clone()));
        } else if let Some(name) = key.strip_prefix("label:") {
            build.labels.insert(name.to_owned(), value.clone());
        } else if let Some(name) = key.strip_prefix("context:") {
            contexts.insert(name.to_owned(), value.clone());
        } else if let Some(what) = key.strip_prefix("attest:")
            && !value.contains("disabled=true")
        {
            warnings.push(format!("{what} attestations are not made by this engine; the image has none"));
        }
    }
    warnings.sort();
    Ok(SolveRequest {
        id: id.to_owned(),
        build,
        upload,
        remote,
        own_dockerfile: attributes.contains_key("dockerfilekey"),
        contexts,
        context_folder: or("contextkey", "context"),
        dockerfile_folder: or("dockerfilekey", "dockerfile"),
        host_network: false,
        cache_from: Vec::new(),
        inputs: std::collections::BTreeMap::new(),
        warnings,
    })
}

/// A client's wishes for caches elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Caches {
    /// Names in registries.
    pub(super) from: Vec<String>,
    /// The image is to bring its own.
    pub(super) inline: bool,
    /// Names in registries, and whether all stages count.
    pub(super) to: Vec<(String, bool)>,
    /// What is not done.
    pub(super) warnings: Vec<String>,
}

impl Caches {
    pub(super) fn of(cache: Option<&CacheOptions>) -> Result<Self> {
        let mut caches = Self::default();
        let Some(cache) = cache else { return Ok(caches) };
        for export in &cache.exports {
            let kind = export.r#type.as_str();
            match (kind, export.attrs.get("ref")) {
                ("inline", _) => caches.inline = true,
                ("registry", Some(name)) => {
                    let all = export.attrs.get("mode").is_some_and(|mode| mode == "max");
                    caches.to.push((name.clone(), all));
                }
                ("registry", None) => {
                    return Err(EngineError::invalid("--cache-to type=registry needs a ref"));
                }
                _ => {
                    return Err(EngineError::not_implemented(format!(
                        "--cache-to type={kind} is not supported by this engine: inline and registry are"
                    )));
                }
            }
        }
        for import in &cache.imports {
            caches.import(&import.r#type, import.attrs.get("ref").map(String::as_str));
        }
        Ok(caches)
    }

    /// Adds those that the frontend's attributes name.
    pub(super) fn add(&mut self, attributes: &HashMap<String, String>) {
        let text = |key: &str| attributes.get(key).map(String::as_str).unwrap_or_default();
        for name in text("cache-from").split(',').filter(|name| !name.is_empty()) {
            self.import("registry", Some(name));
        }
        let listed: Vec<serde_json::Value> = serde_json::from_str(text("cache-imports")).unwrap_or_default();
        for one in listed {
            self.import(one["Type"].as_str().unwrap_or_default(), one["Attrs"]["ref"].as_str());
        }
    }

    fn import(&mut self, kind: &str, name: Option<&str>) {
        match (kind, name) {
            ("registry", Some(name)) if self.from.iter().any(|known| known == name) => {}
            ("registry", Some(name)) => self.from.push(name.to_owned()),
            _ => self.warnings.push(format!(
                "--cache-from type={kind} is not used: this engine reads caches from registries only"
            )),
        }
    }
}

/// Limits and network of what is run.
fn host(attributes: &HashMap<String, String>) -> Result<HostConfig> {
    let given = |key: &str| attributes.get(key).filter(|value| !value.is_empty());
    let bad = |key: &str, value: &str| EngineError::invalid(format!("invalid value for {key}: {value}"));
    let mut host = HostConfig::default();
    if let Some(hosts) = given("add-hosts") {
        host.extra_hosts = Some(hosts.split(',').map(|entry| entry.replacen('=', ":", 1)).collect());
    }
    match given("force-network-mode").map(String::as_str) {
        None | Some("sandbox" | "default" | "bridge") => {}
        Some(mode @ ("none" | "host")) => host.network_mode = Some(mode.to_owned()),
        Some(other) => {
            return Err(EngineError::invalid(format!(
                "network mode {other:?} is not supported by this engine"
            )));
        }
    }
    if let Some(size) = given("shm-size") {
        host.shm_size = Some(size.parse().map_err(|_| bad("shm-size", size))?);
    }
    if let Some(limits) = given("ulimit") {
        host.ulimits = Some(limits.split(',').map(ulimit).collect::<Result<Vec<_>>>()?);
    }
    host.cgroup_parent = given("cgroup-parent").cloned();
    Ok(host)
}

/// `nofile=1024:2048`
fn ulimit(text: &str) -> Result<ResourcesUlimits> {
    let bad = || EngineError::invalid(format!("invalid value for ulimit: {text}"));
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| text.parse::<i64>().map(Some).map_err(|_| bad());
    Ok(ResourcesUlimits { name: Some(name.to_owned()), soft: number(soft)?, hard: number(hard)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&str, &str)]) -> Result<SolveRequest> {
        of("id", &pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn attributes_are_the_clients() {
        let asked = request(&[
            ("filename", "x/Dockerfile"),
            ("build-arg:A", "1"),
            ("label:l", "v"),
            ("no-cache", "One,two"),
            ("context:base", "docker-image://busybox"),
            ("add-hosts", "a=1.2.3.4,b=::1"),
            ("ulimit", "nofile=10:20"),
            ("force-network-mode", "none"),
            ("attest:sbom", "generator=x"),
            ("attest:provenance", "mode=min,disabled=true"),
        ])
        .unwrap();
        assert_eq!(asked.build.dockerfile, "x/Dockerfile");
        assert_eq!(asked.build.arguments["A"].as_deref(), Some("1"));
        assert_eq!(asked.build.no_cache_stages, ["one", "two"]);
        assert!(!asked.build.no_cache && request(&[("no-cache", "")]).unwrap().build.no_cache);
        assert_eq!(asked.contexts["base"], "docker-image://busybox");
        assert_eq!(asked.build.host.extra_hosts.unwrap(), ["a:1.2.3.4", "b:::1"]);
        assert_eq!(asked.build.host.ulimits.unwrap()[0].hard, Some(20));
        assert_eq!(asked.warnings.len(), 1);
        assert_eq!(asked.context_folder, "context");
    }

    #[test]
    fn caches_are_named_once() {
        let mut caches = Caches { from: vec!["r/a".into()], ..Caches::default() };
        let listed = r#"[{"Type":"registry","Attrs":{"ref":"r/b"}},{"Type":"local","Attrs":{"src":"x"}}]"#;
        caches.add(&HashMap::from([
            ("cache-from".to_owned(), "r/a,r/b".to_owned()),
            ("cache-imports".to_owned(), listed.to_owned()),
        ]));
        assert_eq!(caches.from, ["r/a", "r/b"]);
        assert_eq!(caches.warnings.len(), 1);
    }

    #[test]
    fn what_is_not_done_is_said() {
        for pairs in [("platform", "linux/amd64,linux/arm64"), ("force-network-mode", "mynet")] {
            assert!(request(&[pairs]).is_err(), "{pairs:?}");
        }
        assert_eq!(request(&[("context", "http://buildkit-session/a1")]).unwrap().upload.unwrap(), "/a1");
        let elsewhere = request(&[("context", "https://h/x.git#main:d")]).unwrap();
        assert_eq!(elsewhere.remote.as_deref(), Some("https://h/x.git#main:d"));
    }
}
