//! Where AWS's tools look for keys: the profile in the shared files, the container's endpoint, the
//! instance's metadata service. Those in the environment come as options.

mod metadata;
mod profile;

use machine_drivers::DriverError;
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf, time::SystemTime};

const DEFAULT_PROFILE: &str = "default";

/// What requests are signed with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Credentials {
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) session_token: Option<String>,
    /// When they end, where that is known.
    #[serde(skip)]
    pub(super) expires: Option<SystemTime>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// The value of an environment variable.
type Variable = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Environment variables and the home folder.
pub(super) struct Surroundings {
    pub(super) variable: Variable,
    pub(super) home: Option<PathBuf>,
}

impl Surroundings {
    /// This process's.
    pub(super) fn real() -> Self {
        Self { variable: Box::new(|name| std::env::var(name).ok()), home: std::env::home_dir() }
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.trim().is_empty())
    }
}

impl Credentials {
    /// The number of the account, which AWS writes into the ids of its keys: base 32, after the four letters
    /// that say the kind, 40 bits behind the first.
    pub(super) fn account(&self) -> Option<u64> {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let letters = self.access_key.as_bytes().get(4..14).filter(|_| self.access_key.len() == 20)?;
        let value = letters.iter().try_fold(0_u64, |value, letter| {
            let digit = ALPHABET.iter().position(|other| other == letter)?;
            Some(value << 5 | digit as u64)
        })?;
        Some(value >> 9 & 0xff_ffff_ffff)
    }
}

/// The first keys there are.
pub(super) async fn find(
    profile: Option<&str>,
    surroundings: &Surroundings,
) -> Result<Credentials, DriverError> {
    if let Some(profile) = profile
        && let Some(keys) = profile::keys(profile, surroundings).await?
    {
        return Ok(keys);
    }
    if let Some(keys) = metadata::container(surroundings).await? {
        return Ok(keys);
    }
    if let Some(keys) = metadata::instance(surroundings).await {
        return Ok(keys);
    }
    Err(DriverError::Prerequisite {
        what: "There are no credentials of AWS".to_owned(),
        hint: "Pass --amazonec2-access-key and --amazonec2-secret-key, set AWS_ACCESS_KEY_ID and \
               AWS_SECRET_ACCESS_KEY, or run \"aws configure\""
            .to_owned(),
    })
}

/// The region that environment or profile name.
pub(super) fn region(profile: Option<&str>, surroundings: &Surroundings) -> Option<String> {
    let profile = profile.unwrap_or(DEFAULT_PROFILE);
    surroundings.get("AWS_REGION").or_else(|| profile::region(profile, surroundings))
}

/// The profile to look in when none is named.
pub(super) fn default_profile(surroundings: &Surroundings) -> Option<String> {
    profile::exists(DEFAULT_PROFILE, surroundings).then(|| DEFAULT_PROFILE.to_owned())
}

/// Keys that the environment has now.
pub(super) fn environment(surroundings: &Surroundings) -> Option<Credentials> {
    Some(Credentials {
        access_key: surroundings.get("AWS_ACCESS_KEY_ID")?,
        secret_key: surroundings.get("AWS_SECRET_ACCESS_KEY")?,
        session_token: surroundings.get("AWS_SESSION_TOKEN"),
        expires: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_whose_it_is() {
        let account = |access_key: &str| {
            Credentials {
                access_key: access_key.to_owned(),
                secret_key: String::new(),
                session_token: None,
                expires: None,
            }
            .account()
        };
        // The published example of how it is read.
        assert_eq!(account("ASIAQNZGKIQY56JQ7WML"), Some(29_608_264_753));
        assert_eq!(account("AKIA1OSFODNN7EXAMPLE"), None, "there is no 1 in it");
        assert_eq!(account("short"), None);
    }
}
