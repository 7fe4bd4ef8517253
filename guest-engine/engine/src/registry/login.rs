//! `docker login`: whether a registry accepts who somebody says to be.

use super::{Credentials, Registries};
use crate::{
    ErrorKind,
    error::{EngineError, Result},
};

/// What the client may keep instead of the password.
#[derive(Clone, Debug, Default)]
pub struct Login {
    pub identity_token: String,
}

impl Registries {
    /// Tries the credentials on the registry they are for.
    pub async fn login(&self, credentials: &Credentials) -> Result<Login> {
        let domain = domain_of(&credentials.serveraddress);
        let mut last = EngineError::system(format!("no endpoint for {domain}"));
        for endpoint in self.endpoints(domain, true).await? {
            let session = match self.connect(&endpoint, credentials).await {
                Ok(session) => session,
                Err(failure) if endpoint.leaves_open(&failure) => {
                    last = failure.into();
                    continue;
                }
                Err(failure) => return Err(failure.into()),
            };
            return match session.prove().await {
                Ok(refresh) => Ok(Login { identity_token: refresh.unwrap_or_default() }),
                Err(failure) if failure.is_about_access() => {
                    let url = session.url("").map(|url| url.to_string()).unwrap_or_default();
                    // A token server says why, a registry with passwords of its own only no.
                    let said = match failure.status() {
                        Some(status) if !session.wants_tokens().await => {
                            format!("login attempt to {url} failed with status: {status}")
                        }
                        _ => format!("Get \"{url}\": unauthorized: {failure}"),
                    };
                    Err(EngineError::new(ErrorKind::Unauthorized, said))
                }
                Err(failure) => Err(failure.into()),
            };
        }
        Err(last)
    }
}

/// The registry behind a client's `serveraddress`; the Hub's own is an old URL.
fn domain_of(address: &str) -> &str {
    let address = address.trim_start_matches("https://").trim_start_matches("http://");
    match address.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | "docker.io" | "registry-1.docker.io" => "docker.io",
        domain => domain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_all_ages_name_a_registry() {
        for (address, domain) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("localhost:5000", "localhost:5000"),
            ("https://r.example/v2/", "r.example"),
        ] {
            assert_eq!(domain_of(address), domain);
        }
    }
}
