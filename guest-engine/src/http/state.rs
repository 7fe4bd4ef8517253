//! What every handler can reach.

use engine::Engine;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Shared by all requests; cheap to clone.
#[derive(Clone, Debug)]
pub struct AppState {
    /// The domain.
    pub engine: Arc<Engine>,
    /// Cancelled when the server ends: streams without an end of their own stop then.
    pub stopping: CancellationToken,
}
