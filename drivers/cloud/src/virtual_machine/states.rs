//! One listing for all who ask at the same time: `machine ls` over a hundred machines of one account is
//! one call (a page of them), not a hundred.

use crate::{
    http::CloudError,
    provider::{Provider, Vm},
};
use std::{
    fmt,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// Recent listings, one for every account.
pub(super) struct States<P: Provider> {
    /// Who comes this long after a listing was begun is still served by it.
    window: Duration,
    accounts: StdMutex<Vec<(P::Account, Shared)>>,
}

/// Held by whoever asks, and by whoever waits for the answer.
type Shared = Arc<Mutex<Listing>>;
type Listing = Option<(Instant, Arc<[Vm]>)>;

impl<P: Provider> fmt::Debug for States<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Accounts hold credentials.
        f.debug_struct("States").finish_non_exhaustive()
    }
}

impl<P: Provider> States<P> {
    pub(super) fn new(window: Duration) -> Self {
        Self { window, accounts: StdMutex::new(Vec::new()) }
    }

    /// Every VM of the account that is ours, as of a moment ago.
    pub(super) async fn list(&self, provider: &P, account: &P::Account) -> Result<Arc<[Vm]>, CloudError> {
        let came = Instant::now();
        let listing = self.listing(account);
        // Whoever comes while somebody asks waits here, and then finds the answer.
        let mut listing = listing.lock().await;
        if let Some((at, vms)) = &*listing
            && came <= *at + self.window
        {
            return Ok(Arc::clone(vms));
        }
        let asked = Instant::now();
        let vms: Arc<[Vm]> = provider.list().await?.into();
        *listing = Some((asked, Arc::clone(&vms)));
        Ok(vms)
    }

    /// Something was changed: what was listed before does not count any more.
    pub(super) fn forget(&self) {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn listing(&self, account: &P::Account) -> Shared {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, listing)) = accounts.iter().find(|(known, _)| known == account) {
            return Arc::clone(listing);
        }
        let listing = Arc::new(Mutex::new(None));
        accounts.push((account.clone(), Arc::clone(&listing)));
        listing
    }
}
