//! Which region of whose account, and by which endpoint.

use super::credentials::{self, Credentials, Surroundings};
use crate::settings::Settings;
use machine_drivers::DriverError;
use serde::{Deserialize, Serialize};

/// docker-machine's.
const REGION: &str = "us-east-1";

/// What every later command needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(super) region: String,
    /// An endpoint that is not AWS's own.
    pub(super) endpoint: Option<String>,
    /// The keys that were given. Without any, and when these have expired, keys are looked for.
    pub(super) given: Option<Credentials>,
    /// Where to look for them.
    pub(super) profile: Option<String>,
}

impl Account {
    pub(super) fn of(settings: &Settings<'_>, surroundings: &Surroundings) -> Result<Self, DriverError> {
        let text = |name: &str| settings.text(name).map(str::to_owned);
        let profile = text("amazonec2-profile");
        let access = text("amazonec2-access-key");
        let secret = text("amazonec2-secret-key");
        // A profile that is named in the command goes before keys that are in the environment.
        let is_from_environment = |value: &Option<String>, variable: &str| {
            value.is_some() && (surroundings.variable)(variable) == *value
        };
        let profile_goes_first = profile.is_some()
            && !is_from_environment(&profile, "AWS_PROFILE")
            && is_from_environment(&access, "AWS_ACCESS_KEY_ID");
        let given = match (access, secret) {
            _ if profile_goes_first => None,
            (Some(access_key), Some(secret_key)) => Some(Credentials {
                access_key,
                secret_key,
                session_token: text("amazonec2-session-token"),
                expires: None,
            }),
            (None, None) => None,
            _ => {
                return Err(DriverError::InvalidSpec(
                    "--amazonec2-access-key and --amazonec2-secret-key go together".to_owned(),
                ));
            }
        };
        // Pinned: a later command must not look in another account because its environment has keys.
        let profile = match &given {
            None => profile.or_else(|| credentials::default_profile(surroundings)),
            Some(_) => profile,
        };
        let region = text("amazonec2-region")
            .or_else(|| credentials::region(profile.as_deref(), surroundings))
            .unwrap_or_else(|| REGION.to_owned());
        let insecure = settings.flag("amazonec2-insecure-transport");
        let endpoint = match text("amazonec2-endpoint") {
            Some(url) if url.contains("://") => Some(url),
            Some(host) if insecure => Some(format!("http://{host}")),
            Some(host) => Some(format!("https://{host}")),
            None if insecure => {
                return Err(DriverError::InvalidSpec(
                    "--amazonec2-insecure-transport is for an --amazonec2-endpoint of yours".to_owned(),
                ));
            }
            None => None,
        };
        // It becomes a part of a host name.
        if endpoint.is_none() && !region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(DriverError::InvalidSpec(format!("{region:?} is no name of a region")));
        }
        Ok(Self { region, endpoint, given, profile })
    }

    pub(super) fn url(&self) -> String {
        if let Some(endpoint) = &self.endpoint {
            return endpoint.clone();
        }
        let region = &self.region;
        let domain = match region.split('-').next() {
            Some("cn") => "amazonaws.com.cn",
            Some("eusc") => "amazonaws.eu",
            _ => "amazonaws.com",
        };
        format!("https://ec2.{region}.{domain}")
    }

    /// The same account where every other region is known.
    pub(super) fn anywhere(&self) -> Self {
        let region = match self.region.split('-').next() {
            Some("cn") => "cn-north-1",
            _ if self.region.starts_with("us-gov-") => "us-gov-west-1",
            _ => REGION,
        };
        Self { region: region.to_owned(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::options::OPTIONS, *};
    use machine_drivers::{DriverOptions, OptionValue};

    fn account(options: &[(&str, &str)], variables: &'static [(&str, &str)]) -> Result<Account, DriverError> {
        let value = |text: &str| match text {
            "" => OptionValue::Flag,
            text => OptionValue::Text(text.to_owned()),
        };
        let options: DriverOptions =
            options.iter().map(|(name, text)| (format!("amazonec2-{name}"), value(text))).collect();
        let variable = move |name: &str| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        };
        let surroundings = Surroundings { variable: Box::new(variable), home: None };
        Account::of(&Settings::new(OPTIONS, &options), &surroundings)
    }

    #[test]
    fn an_endpoint_is_a_host_or_a_url() {
        let url = |options: &[(&str, &str)]| account(options, &[]).unwrap().url();
        assert_eq!(url(&[]), "https://ec2.us-east-1.amazonaws.com");
        assert_eq!(url(&[("region", "cn-north-1")]), "https://ec2.cn-north-1.amazonaws.com.cn");
        assert_eq!(url(&[("endpoint", "ec2.local")]), "https://ec2.local");
        assert_eq!(url(&[("endpoint", "ec2.local"), ("insecure-transport", "")]), "http://ec2.local");
        assert_eq!(url(&[("endpoint", "http://127.0.0.1:5005")]), "http://127.0.0.1:5005");
        assert!(account(&[("insecure-transport", "")], &[]).is_err());
        assert!(account(&[("region", "evil.example/")], &[]).is_err());
        assert_eq!(account(&[], &[("AWS_REGION", "eu-west-1")]).unwrap().region, "eu-west-1");
    }

    #[test]
    fn a_profile_that_is_named_goes_before_the_environment() {
        const VARIABLES: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "S")];
        let keys = [("access-key", "E"), ("secret-key", "S")];
        assert!(account(&keys, VARIABLES).unwrap().given.is_some());
        let named = [keys[0], keys[1], ("profile", "ci")];
        assert!(account(&named, VARIABLES).unwrap().given.is_none());
        assert!(account(&[("access-key", "E")], &[]).is_err(), "half of a pair");
    }
}
