//! Signs requests (Signature Version 4), with keys that are looked for when they are needed, and by AWS's
//! clock where this computer's is wrong.

use super::{
    account::Account,
    credentials::{self, Credentials, Surroundings},
    wire,
};
use crate::http::{CloudError, Dialect, Refusal};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use machine_drivers::DriverError;
use reqwest::{
    Request,
    header::{DATE, HeaderMap, HeaderValue},
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// AWS takes signatures that are five minutes off.
const TOLERATED: i64 = 4 * 60;
/// Calls that others have signed before the right time was learnt are refused until then.
const UNDER_WAY: Duration = Duration::from_secs(5);
/// Keys that end sooner are replaced.
const MARGIN: Duration = Duration::from_secs(60);

/// Shared by all calls of an account.
#[derive(Clone)]
pub(super) struct Signer(Arc<Inner>);

struct Inner {
    account: Account,
    surroundings: Surroundings,
    current: Mutex<Option<Credentials>>,
    /// Seconds that AWS's clock is ahead of ours.
    ahead: AtomicI64,
    /// When that was learnt.
    learnt: Mutex<Option<Instant>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("region", &self.0.account.region).finish_non_exhaustive()
    }
}

impl Signer {
    pub(super) fn new(account: Account, surroundings: Surroundings) -> Self {
        let current = Mutex::new(account.given.clone());
        let (ahead, learnt) = (AtomicI64::new(0), Mutex::new(None));
        Self(Arc::new(Inner { account, surroundings, current, ahead, learnt }))
    }

    /// Sees to it that there are keys.
    pub(super) async fn ready(&self) -> Result<(), CloudError> {
        let soon = SystemTime::now() + MARGIN;
        let ends = |keys: &Credentials| keys.expires.is_some_and(|end| end < soon);
        if self.current().is_none_or(|keys| ends(&keys)) {
            self.set(self.find().await?);
        }
        Ok(())
    }

    /// Looks for newer keys of the same account, when temporary ones were refused. Whether there are any.
    pub(super) async fn renew(&self) -> bool {
        let Some(refused) = self.current().filter(|keys| keys.session_token.is_some()) else { return false };
        let found = match credentials::environment(&self.0.surroundings).filter(|keys| *keys != refused) {
            Some(keys) => Some(keys),
            None => self.find().await.ok(),
        };
        // In another account there is no such machine, which would look as if it were gone.
        let fits = |keys: &Credentials| {
            *keys != refused && keys.account().is_some() && keys.account() == refused.account()
        };
        found.filter(fits).map(|keys| self.set(keys)).is_some()
    }

    async fn find(&self) -> Result<Credentials, DriverError> {
        credentials::find(self.0.account.profile.as_deref(), &self.0.surroundings).await
    }

    fn set(&self, keys: Credentials) {
        *self.0.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys);
    }

    fn current(&self) -> Option<Credentials> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self) -> SystemTime {
        let ahead = self.0.ahead.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead.unsigned_abs());
        let now = SystemTime::now();
        if ahead < 0 { now - by } else { now + by }
    }

    fn sign(&self, request: &mut Request, keys: &Credentials, at: SystemTime) -> Option<()> {
        let token = keys.session_token.clone();
        let identity = aws_credential_types::Credentials::new(
            &keys.access_key,
            &keys.secret_key,
            token,
            None,
            "machine",
        )
        .into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.0.account.region)
            .name("ec2")
            .time(at)
            .settings(SigningSettings::default())
            .build()
            .ok()?
            .into();
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let kind = request.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let headers = kind.into_iter().map(|kind| ("content-type", kind));
        let url = request.url().as_str();
        let signable =
            SignableRequest::new(request.method().as_str(), url, headers, SignableBody::Bytes(body)).ok()?;
        let (instructions, _) = sign(signable, &parameters).ok()?.into_parts();
        for header in instructions.into_parts().0 {
            let mut value = HeaderValue::from_str(header.value()).ok()?;
            value.set_sensitive(true);
            request.headers_mut().insert(header.name(), value);
        }
        Some(())
    }

    /// Takes over AWS's clock, when a refusal shows that ours is wrong. Whether that is news for the call
    /// that was refused.
    fn learn_the_time(&self, headers: &HeaderMap) -> bool {
        let Some(date) = headers.get(DATE).and_then(|date| date.to_str().ok()) else { return false };
        let Ok(theirs) = jiff::fmt::rfc2822::parse(date) else { return false };
        let ahead = theirs.timestamp().as_second() - jiff::Timestamp::now().as_second();
        let mut learnt = self.0.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        if (ahead - self.0.ahead.load(Ordering::Relaxed)).abs() < TOLERATED {
            return learnt.is_some_and(|at| at.elapsed() < UNDER_WAY);
        }
        *learnt = Some(Instant::now());
        tracing::warn!(seconds = ahead, "this computer's clock differs from that of AWS, which is used");
        self.0.ahead.store(ahead, Ordering::Relaxed);
        true
    }
}

impl Dialect for Signer {
    fn authorize(&self, request: &mut Request) -> Result<(), CloudError> {
        let signed = self.current().and_then(|keys| self.sign(request, &keys, self.now()));
        signed.ok_or_else(|| {
            DriverError::InvalidSpec(
                "The AWS credentials hold characters that no credentials have".to_owned(),
            )
            .into()
        })
    }

    fn refusal(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Refusal {
        let refusal = wire::refusal(status, body);
        let late = wire::UNSIGNED.contains(&refusal.code.as_str()) && self.learn_the_time(headers);
        Refusal { passing: refusal.passing || late, ..refusal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(session_token: Option<&str>) -> Signer {
        let given = Credentials {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: session_token.map(str::to_owned),
            expires: None,
        };
        let account =
            Account { region: "us-east-1".to_owned(), endpoint: None, given: Some(given), profile: None };
        Signer::new(account, Surroundings { variable: Box::new(|_| None), home: None })
    }

    #[test]
    fn what_is_signed_is_complete_and_not_shown() {
        let mut request = Request::new(reqwest::Method::POST, "https://ec2.example/".parse().unwrap());
        request.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
        signer(Some("the-token")).authorize(&mut request).unwrap();
        let authorization = request.headers()["authorization"].to_str().unwrap();
        let signed = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token";
        assert!(authorization.contains("/us-east-1/ec2/aws4_request"), "{authorization}");
        assert!(authorization.contains(signed), "{authorization}");
        assert_eq!(request.headers()["x-amz-security-token"], "the-token");
        assert!(!format!("{request:?}").contains("the-token"));
    }

    #[test]
    fn a_wrong_clock_is_corrected() {
        let signer = signer(None);
        let body = b"<Response><Errors><Error><Code>AuthFailure</Code></Error></Errors></Response>";
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("Tue, 01 Jan 2030 00:00:00 GMT"));
        assert!(signer.refusal(401, &headers, body).passing, "with the right time it may be tried again");
        assert!(signer.refusal(401, &headers, body).passing, "also what was signed before that");
        let year = jiff::Timestamp::try_from(signer.now()).unwrap().to_string();
        assert!(year.starts_with("2030-01-01"), "{year}");
        assert!(!self::signer(None).refusal(401, &HeaderMap::new(), body).passing, "no word of the time");
    }
}
