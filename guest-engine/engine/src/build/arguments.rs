//! Build arguments: which are given, which are declared, which are in sight.

use std::collections::{BTreeMap, BTreeSet};

/// Known without being declared.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The arguments of one build; declarations are those of the stage at hand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    given: BTreeMap<String, Option<String>>,
    /// Declared before the first stage.
    meta: BTreeMap<String, Option<String>>,
    declared: BTreeMap<String, Option<String>>,
    /// By this stage itself, in its order.
    own: Vec<String>,
    /// Known to those who declare them, and to `FROM`.
    platform: BTreeMap<String, String>,
    used: BTreeSet<String>,
}

impl Arguments {
    pub(crate) fn new(given: BTreeMap<String, Option<String>>) -> Self {
        Self { given, ..Self::default() }
    }

    /// As BuildKit has it: a proxy that is given is known in capitals and in small letters.
    pub(crate) fn with_proxies(mut given: BTreeMap<String, Option<String>>) -> Self {
        for name in PROXIES {
            let other = PROXIES.iter().find(|other| **other != name && other.eq_ignore_ascii_case(name));
            if let Some(value) = other.and_then(|other| given.get(*other)).cloned() {
                given.entry(name.to_owned()).or_insert(value);
            }
        }
        Self::new(given)
    }

    /// What `ARG TARGETPLATFORM` and its like mean; known without a declaration to `FROM` alone.
    pub(crate) fn set_platform(&mut self, platform: &str, target_stage: &str) {
        let mut parts = platform.split('/');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let (os, architecture, variant) = (part(), part(), part());
        for side in ["BUILD", "TARGET"] {
            for (name, value) in
                [("PLATFORM", platform), ("OS", &os), ("ARCH", &architecture), ("VARIANT", &variant)]
            {
                self.platform.insert(format!("{side}{name}"), value.to_owned());
            }
        }
        let stage = if target_stage.is_empty() { "default" } else { target_stage };
        self.platform.insert("TARGETSTAGE".to_owned(), stage.to_owned());
    }

    /// The declarations of the stage that this one stands on.
    pub(crate) fn inherit(&mut self, base: &Self) {
        self.declared.clone_from(&base.declared);
    }

    /// What a stage has used besides what is known here.
    pub(crate) fn learn(&mut self, stage: &Self) {
        self.used.extend(stage.used.iter().cloned());
    }

    /// `ARG` before the first `FROM`.
    pub(crate) fn declare_meta(&mut self, name: &str, default: Option<String>) {
        self.used.insert(name.to_owned());
        self.meta.insert(name.to_owned(), default);
    }

    /// `ARG` in a stage.
    pub(crate) fn declare(&mut self, name: &str, default: Option<String>) {
        self.used.insert(name.to_owned());
        self.declared.insert(name.to_owned(), default);
        if !self.own.iter().any(|known| known == name) {
            self.own.push(name.to_owned());
        }
    }

    /// Names that are declared before the stages.
    pub(crate) fn before_stages(&self) -> impl Iterator<Item = &str> {
        self.meta.keys().map(String::as_str)
    }

    /// Names that need no declaration.
    pub(crate) fn always<'a>() -> impl Iterator<Item = &'a str> {
        PROXIES.into_iter().map(|name| -> &'a str { name })
    }

    /// What `FROM` may use, as if nothing were given.
    pub(crate) fn defaults_for_from(&self) -> Vec<(String, String)> {
        let known = self.platform.iter().map(|(name, value)| (name.clone(), value.clone()));
        known
            .chain(self.meta.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))))
            .collect()
    }

    /// What `FROM` may use.
    pub(crate) fn for_from(&self) -> Vec<(String, String)> {
        let value = |name: &String, default: &Option<String>| self.given(name).or_else(|| default.clone());
        let known = self.platform.iter().map(|(name, value)| (name.clone(), value.clone()));
        let meta = self.meta.iter().filter_map(|(name, default)| Some((name.clone(), value(name, default)?)));
        known.chain(meta).collect()
    }

    /// What a stage may use, but for what its environment sets anyway; by name.
    pub(crate) fn in_sight(&self, environment: &[String]) -> Vec<(String, String)> {
        let set: BTreeSet<&str> = environment
            .iter()
            .map(|entry| entry.split_once('=').map_or(entry.as_str(), |(key, _)| key))
            .collect();
        let names: BTreeSet<&str> = self.declared.keys().map(String::as_str).chain(PROXIES).collect();
        names
            .into_iter()
            .filter(|name| !set.contains(name))
            .filter_map(|name| Some((name.to_owned(), self.value(name)?)))
            .collect()
    }

    /// What BuildKit's history says of a command: all that its stage has declared so far, as it sees them.
    pub(crate) fn told(&self, environment: &[String]) -> Vec<String> {
        let set =
            |name: &String| environment.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        let seen = |name| set(name).map(str::to_owned).or_else(|| self.value(name)).unwrap_or_default();
        self.own.iter().map(|name| format!("{name}={}", seen(name))).collect()
    }

    /// Whether the argument belongs into the history and the cache: proxies only when declared.
    pub(crate) fn counts(&self, name: &str) -> bool {
        self.used.contains(name) || !PROXIES.contains(&name)
    }

    /// Given, but neither declared nor known.
    pub(crate) fn unused(&self) -> Vec<&str> {
        let unused = |name: &&str| !self.used.contains(*name) && !PROXIES.contains(name);
        self.given.keys().map(String::as_str).filter(unused).collect()
    }

    /// Given without a value is not given.
    pub(crate) fn given(&self, name: &str) -> Option<String> {
        self.given.get(name).cloned().flatten()
    }

    fn value(&self, name: &str) -> Option<String> {
        let declared = || self.declared.get(name).cloned().flatten();
        self.given(name)
            .or_else(declared)
            .or_else(|| self.meta.get(name).cloned().flatten())
            .or_else(|| self.platform.get(name).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_wins_and_must_be_declared() {
        let given = [("A", Some("given")), ("E", None), ("Z", Some("z")), ("http_proxy", Some("p"))];
        let given = given.into_iter().map(|(k, v)| (k.to_owned(), v.map(str::to_owned))).collect();
        let mut arguments = Arguments::new(given);
        arguments.declare_meta("M", Some("meta".into()));
        assert_eq!(arguments.for_from(), [("M".to_owned(), "meta".to_owned())]);
        assert_eq!(arguments.in_sight(&[]), [("http_proxy".to_owned(), "p".to_owned())]);
        arguments.declare("A", Some("default".into()));
        arguments.declare("M", None);
        arguments.declare("E", Some("x".into()));
        let names: Vec<(String, String)> = arguments.in_sight(&["E=1".into()]);
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(names, [pair("A", "given"), pair("M", "meta"), pair("http_proxy", "p")]);
        assert_eq!(arguments.in_sight(&[])[1], pair("E", "x"), "given without a value");
        assert!(arguments.counts("A") && !arguments.counts("http_proxy"));
        assert_eq!(arguments.unused(), ["Z"]);
        arguments.declare("B", None);
        assert_eq!(arguments.told(&["E=1".into()]), ["A=given", "M=meta", "E=1", "B="]);
    }

    #[test]
    fn proxies_are_known_in_both_cases() {
        let given = [("HTTP_PROXY", "p"), ("no_proxy", "n")];
        let given = given.into_iter().map(|(k, v)| (k.to_owned(), Some(v.to_owned()))).collect();
        let names: Vec<String> =
            Arguments::with_proxies(given).in_sight(&[]).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["HTTP_PROXY", "NO_PROXY", "http_proxy", "no_proxy"]);
    }
}
