//! Seccomp profiles: Docker's own, or one that came with `--security-opt seccomp=`. A profile speaks of
//! architectures, capabilities and kernels; what is left of it for one container is a [`SeccompPolicy`].

mod default_profile;

use crate::{
    error::{EngineError, Result},
    ports::{SeccompAction, SeccompComparison, SeccompCondition, SeccompPolicy, SeccompRule},
};
use bollard_stubs::models::HostConfig;
use oci_spec::runtime::{Capabilities, Capability};
use serde::Deserialize;

/// Go's name of the architecture we are built for, as profiles use it.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
/// The same in libseccomp's words.
const NATIVE: &str = if cfg!(target_arch = "aarch64") { "SCMP_ARCH_AARCH64" } else { "SCMP_ARCH_X86_64" };
const EPERM: u16 = 1;

/// A profile as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u16>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<Family>>,
    flags: Option<Vec<String>>,
    listener_path: String,
    syscalls: Option<Vec<Entry>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Family {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Entry {
    name: String,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u16>,
    args: Option<Vec<Argument>>,
    includes: Option<Scope>,
    excludes: Option<Scope>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    value_two: u64,
    op: String,
}

/// Where an entry applies, or does not.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Scope {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

impl Profile {
    /// Docker takes a profile without action and calls, such as `{}`, for "unconfined".
    fn says_nothing(&self) -> bool {
        self.default_action.is_empty() && self.syscalls.iter().flatten().next().is_none()
    }
}

/// What an entry's scope is compared with.
struct Circumstances<'a> {
    capabilities: &'a Capabilities,
    kernel: (u32, u32),
}

/// The value of `--security-opt seccomp=`, if there is one.
fn option(host: &HostConfig) -> Option<&str> {
    let options = host.security_opt.iter().flatten().rev();
    options.filter_map(|option| option.strip_prefix("seccomp=").or(option.strip_prefix("seccomp:"))).next()
}

/// Whether `--security-opt seccomp=` can be honoured.
pub(super) fn check(host: &HostConfig) -> Result<()> {
    match option(host) {
        None | Some("unconfined" | "builtin") => Ok(()),
        Some(text) => {
            let profile = parse(text)?;
            if profile.says_nothing() {
                return Ok(());
            }
            resolve(&profile, &Circumstances { capabilities: &Capabilities::new(), kernel: (0, 0) }).map(drop)
        }
    }
}

/// What the processes of a container with `capabilities` may do; `None` is everything.
pub(super) fn policy(
    host: &HostConfig,
    capabilities: &Capabilities,
    kernel_release: &str,
) -> Result<Option<SeccompPolicy>> {
    let around = Circumstances { capabilities, kernel: version(kernel_release).unwrap_or((u32::MAX, 0)) };
    match option(host) {
        Some("unconfined") => Ok(None),
        Some(text) if text != "builtin" => {
            let profile = parse(text)?;
            if profile.says_nothing() { Ok(None) } else { resolve(&profile, &around).map(Some) }
        }
        // A profile that was asked for by name holds even then.
        None if host.privileged.unwrap_or(false) => Ok(None),
        _ => Ok(Some(default_profile::policy(capabilities))),
    }
}

fn parse(text: &str) -> Result<Profile> {
    let failed = |what: &dyn std::fmt::Display| {
        EngineError::invalid(format!("Decoding seccomp profile failed: {what}"))
    };
    let profile: Profile = serde_json::from_str(text).map_err(|error| failed(&error))?;
    if profile.architectures.as_ref().is_some_and(|a| !a.is_empty())
        && profile.arch_map.as_ref().is_some_and(|a| !a.is_empty())
    {
        return Err(EngineError::invalid(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either \
             'architectures' or 'archMap'",
        ));
    }
    if !profile.listener_path.is_empty() {
        return Err(EngineError::not_implemented(
            "Seccomp profiles with a listener are not supported by this engine",
        ));
    }
    for flag in profile.flags.iter().flatten() {
        // These two change nothing for a single thread that allows speculation anyway.
        if !matches!(flag.as_str(), "SECCOMP_FILTER_FLAG_TSYNC" | "SECCOMP_FILTER_FLAG_SPEC_ALLOW") {
            return Err(EngineError::invalid(format!("seccomp flag {flag:?} is not supported")));
        }
    }
    Ok(profile)
}

fn resolve(profile: &Profile, around: &Circumstances<'_>) -> Result<SeccompPolicy> {
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut rules = Vec::new();
    for entry in profile.syscalls.iter().flatten() {
        let mut names = entry.names.clone().unwrap_or_default();
        if !entry.name.is_empty() {
            if !names.is_empty() {
                return Err(EngineError::invalid(
                    "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or \
                     'names'",
                ));
            }
            names.push(entry.name.clone());
        }
        let action = action(&entry.action, entry.errno_ret)?;
        let conditions: Vec<_> = entry.args.iter().flatten().map(condition).collect::<Result<_>>()?;
        if !applies(entry, around)? || action == default {
            continue;
        }
        // Several conditions on one argument are alternatives, as in runc.
        let repeated = (0..6).any(|index| conditions.iter().filter(|c| c.argument == index).count() > 1);
        if repeated {
            for condition in conditions {
                rules.push(SeccompRule { names: names.clone(), action, conditions: vec![condition] });
            }
        } else {
            rules.push(SeccompRule { names, action, conditions });
        }
    }
    let family = profile.arch_map.iter().flatten().find(|family| family.architecture == NATIVE);
    let architectures = match family {
        Some(family) => family.sub_architectures.clone().unwrap_or_default(),
        None => profile.architectures.clone().unwrap_or_default(),
    };
    Ok(SeccompPolicy { default, architectures, rules })
}

fn applies(entry: &Entry, around: &Circumstances<'_>) -> Result<bool> {
    let has = |name: &String| {
        let bare = name.strip_prefix("CAP_").unwrap_or(name);
        bare.parse::<Capability>().is_ok_and(|capability| around.capabilities.contains(&capability))
    };
    let here = |name: &String| name == ARCHITECTURE;
    let reached = |text: &String| {
        version(text).map(|least| around.kernel >= least).ok_or_else(|| {
            EngineError::invalid(format!("invalid kernel version in the seccomp profile: {text:?}"))
        })
    };
    if let Some(scope) = &entry.excludes
        && (scope.arches.iter().flatten().any(here)
            || scope.caps.iter().flatten().any(has)
            || scope.min_kernel.as_ref().map(reached).transpose()?.unwrap_or(false))
    {
        return Ok(false);
    }
    let Some(scope) = &entry.includes else { return Ok(true) };
    let arches = scope.arches.as_deref().unwrap_or_default();
    Ok((arches.is_empty() || arches.iter().any(here))
        && scope.caps.iter().flatten().all(has)
        && scope.min_kernel.as_ref().map(reached).transpose()?.unwrap_or(true))
}

fn action(name: &str, errno: Option<u16>) -> Result<SeccompAction> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => SeccompAction::Allow,
        "SCMP_ACT_ERRNO" => SeccompAction::Errno(errno.unwrap_or(EPERM)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => SeccompAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => SeccompAction::KillProcess,
        "SCMP_ACT_TRAP" => SeccompAction::Trap,
        "SCMP_ACT_TRACE" => SeccompAction::Trace(errno.unwrap_or(EPERM)),
        "SCMP_ACT_LOG" => SeccompAction::Log,
        other => return Err(EngineError::invalid(format!("unsupported seccomp action: {other:?}"))),
    })
}

fn condition(argument: &Argument) -> Result<SeccompCondition> {
    if argument.index > 5 {
        return Err(EngineError::invalid(format!("invalid seccomp argument index: {}", argument.index)));
    }
    let value = argument.value;
    let comparison = match argument.op.as_str() {
        "SCMP_CMP_NE" => SeccompComparison::NotEqual(value),
        "SCMP_CMP_LT" => SeccompComparison::Less(value),
        "SCMP_CMP_LE" => SeccompComparison::LessOrEqual(value),
        "SCMP_CMP_EQ" => SeccompComparison::Equal(value),
        "SCMP_CMP_GE" => SeccompComparison::GreaterOrEqual(value),
        "SCMP_CMP_GT" => SeccompComparison::Greater(value),
        "SCMP_CMP_MASKED_EQ" => SeccompComparison::MaskedEqual { mask: value, value: argument.value_two },
        other => return Err(EngineError::invalid(format!("unsupported seccomp operator: {other:?}"))),
    };
    Ok(SeccompCondition { argument: argument.index, comparison })
}

/// `6.1.0-13-amd64` → (6, 1)
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(option: &str) -> HostConfig {
        HostConfig { security_opt: Some(vec![option.to_owned()]), ..HostConfig::default() }
    }

    fn custom(text: &str, capabilities: &[Capability]) -> Result<SeccompPolicy> {
        let capabilities = capabilities.iter().copied().collect();
        policy(&with(&format!("seccomp={text}")), &capabilities, "6.1.0-13-amd64").map(Option::unwrap)
    }

    #[test]
    fn options_choose_the_profile() {
        let none = Capabilities::new();
        let privileged = HostConfig { privileged: Some(true), ..HostConfig::default() };
        assert!(policy(&HostConfig::default(), &none, "6.1").unwrap().is_some());
        assert!(policy(&with("seccomp=builtin"), &none, "6.1").unwrap().is_some());
        assert_eq!(policy(&with("seccomp=unconfined"), &none, "6.1").unwrap(), None);
        assert_eq!(policy(&privileged, &none, "6.1").unwrap(), None);
        check(&with("seccomp={}")).unwrap();
        assert_eq!(policy(&with("seccomp={}"), &none, "6.1").unwrap(), None);
    }

    #[test]
    fn scopes_follow_capabilities_architecture_and_kernel() {
        let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mount"],"action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["a"],"action":"SCMP_ACT_TRAP","includes":{"arches":["s390x"]}},
            {"names":["b"],"action":"SCMP_ACT_TRAP","includes":{"minKernel":"6.2"}},
            {"name":"c","action":"SCMP_ACT_ERRNO","errnoRet":38,"includes":{"minKernel":"5.10"}},
            {"names":["d"],"action":"SCMP_ACT_ALLOW"}]}"#;
        let names = |policy: SeccompPolicy| -> Vec<String> {
            policy.rules.into_iter().flat_map(|r| r.names).collect()
        };
        assert_eq!(names(custom(text, &[]).unwrap()), ["mount", "c"]);
        assert_eq!(names(custom(text, &[Capability::SysAdmin]).unwrap()), ["c"]);
    }

    #[test]
    fn two_conditions_on_one_argument_are_alternatives() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["socket"],"action":"SCMP_ACT_ALLOW",
            "args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]}]}"#;
        assert_eq!(custom(text, &[]).unwrap().rules.len(), 2);
    }

    #[test]
    fn broken_profiles_are_refused_before_anything_exists() {
        for (text, part) in [
            ("/x.json", "Decoding seccomp profile failed: "),
            ("{\"defaultAction\":\"SCMP_ACT_FLY\"}", "unsupported seccomp action"),
            ("{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}", "unsupported seccomp action"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["x"],"action":"SCMP_ACT_TRAP",
                  "args":[{"index":9,"op":"SCMP_CMP_EQ"}]}]}"#,
                "invalid seccomp argument index: 9",
            ),
        ] {
            let error = check(&with(&format!("seccomp={text}"))).unwrap_err().to_string();
            assert!(error.starts_with(part), "{error}");
        }
    }
}
