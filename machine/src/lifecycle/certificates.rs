//! A machine's certificates: seen to whenever its engine is brought up or asked for over TLS.

use super::{CommandError, Lifecycle};
use crate::{
    certificates::{CertificateFiles, Made, Renew},
    machine::MachineName,
    store::{OwnPart, Record},
};

impl Lifecycle<'_> {
    /// Makes what is missing or no longer good, and says so of what the whole store shares.
    pub(super) fn ensure_certificates(&self, record: &Record, renew: Renew) -> Result<(), CommandError> {
        let Some(own) = record.own() else { return Ok(()) };
        let files = self.certificate_files(own);
        let hosts = [vec![record.name.hostname()], own.tls.hosts.clone()].concat();
        let made = files.ensure(&self.store.folder(&record.name), &hosts, renew).map_err(|error| {
            CommandError::caused(format!("Could not make the certificates of \"{}\"", record.name), &error)
        })?;
        for made in made {
            match made {
                Made::Authority(path) => self.ui.status(&format!("Creating CA: {}", path.display())),
                Made::Client(path) => {
                    self.ui.status(&format!("Creating client certificate: {}", path.display()));
                }
                Made::Server(_) => {}
            }
        }
        Ok(())
    }

    /// The store's part of a machine's certificates.
    pub fn certificate_files(&self, own: &OwnPart) -> CertificateFiles {
        own.tls.files.clone().unwrap_or_else(|| CertificateFiles::in_store(self.store.root()))
    }

    /// Makes a machine's certificates anew; `all` includes the authority, and so those of all machines, each
    /// of which follows when it is next used. A running keeper takes the new ones at once.
    pub async fn regenerate_certificates(&self, name: &MachineName, all: bool) -> Result<(), CommandError> {
        let lock = self.lock(name).await?;
        let whole = self.whole_locked(name, &lock)?;
        self.ensure_certificates(&whole.record, if all { Renew::All } else { Renew::Server })
    }
}
