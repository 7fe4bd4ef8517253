//! A suite of a Debian archive, and the one way to a package's file: an unbroken chain from the
//! signature of `InRelease` over the digest of `Packages.xz` to the digest of the `.deb`.

use crate::cache::Cache;
use crate::digest;
use crate::download::Downloader;
use crate::keyring::Keyring;
use crate::packages_index::{Package, PackagesIndex};
use crate::release::Release;
use crate::report;
use anyhow::{Context, Result, bail};
use guest_contract::image::Input;
use std::path::PathBuf;
use std::time::Duration;

const PACKAGES: &str = "main/binary-amd64/Packages.xz";
const RELEASE_LIMIT: u64 = 4 << 20;
/// How long the mirror may take when a verified index is at hand.
const REFRESH_DEADLINE: Duration = Duration::from_secs(10);

/// Where packages come from and whose word counts.
#[derive(Debug)]
pub(crate) struct Source {
    /// URL of the archive, without a trailing slash.
    pub mirror: String,
    pub suite: String,
    pub keyring: PathBuf,
    /// Use nothing but the cache.
    pub offline: bool,
}

/// An archive whose index has been verified.
#[derive(Debug)]
pub(crate) struct Archive {
    source: Source,
    cache: Cache,
    downloader: Downloader,
    release: Release,
}

impl Archive {
    /// Verifies the suite's index: the mirror's, or the cached one when that is newer or the mirror
    /// is out of reach.
    pub(crate) async fn open(source: Source, cache: Cache) -> Result<Self> {
        let downloader = Downloader::new()?;
        let keyring = Keyring::open(&source.keyring)?;
        let release = current_release(&source, &cache, &downloader, &keyring).await?;
        Ok(Self { source, cache, downloader, release })
    }

    /// The index as an input of a build.
    pub(crate) fn release_input(&self) -> Input {
        Input {
            name: "InRelease".to_owned(),
            version: format!("{} {}", self.release.suite, self.release.version),
            sha256: self.release.sha256.clone(),
            origin: format!("signed by {}", self.release.signed_by),
        }
    }

    /// A fetched package as an input of a build.
    pub(crate) fn package_input(&self, package: &Package) -> Input {
        Input {
            name: package.name.clone(),
            version: package.version.clone(),
            sha256: package.sha256.clone(),
            origin: self.release.suite.clone(),
        }
    }

    /// The verified package index.
    pub(crate) async fn packages(&self) -> Result<PackagesIndex> {
        let file = self.release.file(PACKAGES)?;
        let path = if self.release.acquire_by_hash {
            // By digest, an index that the mirror replaces meanwhile stays reachable.
            format!("dists/{}/main/binary-amd64/by-hash/SHA256/{}", self.source.suite, file.sha256)
        } else {
            format!("dists/{}/{PACKAGES}", self.source.suite)
        };
        let what = format!("package index of {}", self.source.suite);
        let cached = self.fetch(&what, &path, &file.sha256, file.size).await?;
        let bytes = std::fs::read(&cached).with_context(|| format!("Could not read {}", cached.display()))?;
        Ok(PackagesIndex::unpack(&bytes)?)
    }

    /// The verified `.deb` of a package.
    pub(crate) async fn package_file(&self, package: &Package) -> Result<PathBuf> {
        let what = format!("{} {}", package.name, package.version);
        self.fetch(&what, &package.filename, &package.sha256, package.size).await
    }

    async fn fetch(&self, what: &str, path: &str, sha256: &str, size: u64) -> Result<PathBuf> {
        if let Some(cached) = self.cache.find(sha256)? {
            return Ok(cached);
        }
        if self.source.offline {
            bail!("The {what} is not in the cache\nHint: Build once without \"--offline\"");
        }
        report::step(&format!("Fetching {what} ({})", report::megabytes(size)));
        let url = format!("{}/{path}", self.source.mirror);
        let bytes = self.downloader.fetch(&url, size).await?;
        let found = digest::of_bytes(&bytes);
        if found != sha256 {
            bail!("{url} has sha256 {found} instead of the signed {sha256}");
        }
        Ok(self.cache.keep(sha256, &bytes)?)
    }
}

async fn current_release(
    source: &Source,
    cache: &Cache,
    downloader: &Downloader,
    keyring: &Keyring,
) -> Result<Release> {
    let Source { mirror, suite, offline, .. } = source;
    // Verified again on every use: the cache is a folder that others may write to.
    let cached = match cache.find_index(mirror, suite)? {
        Some(text) => Release::verify(&text, suite, keyring)
            .map_err(|error| report::warning(&format!("Ignoring the cached index: {error}")))
            .ok(),
        None => None,
    };
    let now = jiff::Timestamp::now();
    let cached = match (cached, offline) {
        (Some(cached), true) => return Ok(cached),
        (None, true) => {
            bail!("No index of {suite} from {mirror} is in the cache\nHint: Build once without \"--offline\"")
        }
        (cached, false) => cached.filter(|c| c.check_current(now).is_ok()),
    };

    let url = format!("{mirror}/dists/{suite}/InRelease");
    let Some(cached) = cached else {
        let bytes = downloader.fetch(&url, RELEASE_LIMIT).await?;
        return accept(&bytes, source, cache, keyring, now);
    };
    let problem = match downloader.fetch_briefly(&url, RELEASE_LIMIT, REFRESH_DEADLINE).await {
        Ok(Some(bytes)) if digest::of_bytes(&bytes) == cached.sha256 => return Ok(cached),
        Ok(Some(bytes)) => {
            let text = String::from_utf8_lossy(&bytes);
            match Release::verify(&text, suite, keyring) {
                Ok(fetched) if fetched.date >= cached.date => {
                    return accept(&bytes, source, cache, keyring, now);
                }
                // A mirror that lags (or an attacker who replays) must not take us back.
                Ok(fetched) => format!("the mirror's is older ({})", fetched.date),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None) => format!("{mirror} did not answer within {} s", REFRESH_DEADLINE.as_secs()),
        Err(error) => format!("{:#}", anyhow::Error::from(error)),
    };
    report::warning(&format!("Using the verified index of {suite} of {}: {problem}", cached.date));
    Ok(cached)
}

fn accept(
    bytes: &[u8],
    source: &Source,
    cache: &Cache,
    keyring: &Keyring,
    now: jiff::Timestamp,
) -> Result<Release> {
    let text = String::from_utf8_lossy(bytes);
    let release = Release::verify(&text, &source.suite, keyring)?;
    release.check_current(now)?;
    cache.keep_index(&source.mirror, &source.suite, &text)?;
    Ok(release)
}
