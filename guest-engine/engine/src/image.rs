//! Images: configuration blobs by the hash of their bytes, names that point at them, and the layers they
//! stand on.
//!
//! One mutex orders changes; the index is saved before it is published, so readers only ever see what is
//! on disk, but for when something was last used: that is not worth waiting for a disk. Layers are removed only
//! by the sweep, which runs when nobody is adding any.

pub mod build_steps;
pub mod config;
pub mod reference;

mod assemble;
mod cache_sources;
pub(crate) mod derive;
mod fetch;
mod gzip;
mod history;
mod list;
pub(crate) mod load;
mod lookup;
mod pattern;
mod progress;
mod pull;
mod push;
mod remove;
mod save;
mod shared;
mod shared_cache;
mod store;
mod sweep;
mod tag;

pub use assemble::Assembled;
pub(crate) use cache_sources::{CacheSources, Wanted};
pub use derive::Derived;
pub use history::HistoryItem;
pub use list::{ImageFilters, ImageSummary};
pub use load::LoadProgress;
pub use lookup::Image;
pub use progress::{Progress, ProgressSender, progress};
pub use pull::PullRequest;
pub use push::PushRequest;
pub use reference::Reference;
pub use remove::{Parents, Removed};
pub(crate) use shared_cache::{SharedCache, SharedStep, SharedSteps};

use crate::{
    error::Result,
    events::{EventType, Events},
    ports::{LayerInfo, LayerStore},
};
use config::ConfigFile;
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use store::{Index, Record, Store};

/// A container's claim on an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUser {
    /// The container's id.
    pub container: String,
    /// The image's id.
    pub image: String,
    /// A running container's image cannot be removed even by force.
    pub running: bool,
}

/// Who stands on images. The containers implement it.
pub trait ImageUsers: Debug + Send + Sync {
    /// Every claim, at this moment.
    fn image_users(&self) -> Vec<ImageUser>;
}

/// The images of this engine.
#[derive(Debug)]
pub struct Images {
    store: Store,
    layers: Arc<dyn LayerStore>,
    events: Arc<Events>,
    users: OnceLock<Arc<dyn ImageUsers>>,
    /// What is on disk, and what is noted.
    index: Mutex<Arc<Index>>,
    /// Something is noted that is not on disk.
    noted: AtomicBool,
    /// Held while the index is changed.
    changing: tokio::sync::Mutex<()>,
    /// Held shared while layers are being added, exclusively while they are being removed.
    adding: tokio::sync::RwLock<()>,
    /// Parsed blobs; they never change.
    configs: Mutex<HashMap<String, Arc<ConfigFile>>>,
    /// Layers on their way here.
    fetches: fetch::Fetches,
}

impl Images {
    /// Opens the store under `data_root`. Call [`Images::set_users`] next, then [`Images::sweep`].
    pub async fn open(data_root: &Path, layers: Arc<dyn LayerStore>, events: Arc<Events>) -> Result<Self> {
        let store = Store::new(data_root.join("images"));
        let index = store.load().await?;
        Ok(Self {
            store,
            layers,
            events,
            users: OnceLock::new(),
            index: Mutex::new(Arc::new(index)),
            noted: AtomicBool::default(),
            changing: tokio::sync::Mutex::default(),
            adding: tokio::sync::RwLock::default(),
            configs: Mutex::default(),
            fetches: fetch::Fetches::default(),
        })
    }

    /// Says who stands on images; once, before requests are served.
    pub fn set_users(&self, users: Arc<dyn ImageUsers>) {
        drop(self.users.set(users));
    }

    /// How many images there are.
    pub fn count(&self) -> usize {
        self.snapshot().images.len()
    }

    fn users(&self) -> Vec<ImageUser> {
        self.users.get().map(|users| users.image_users()).unwrap_or_default()
    }

    fn snapshot(&self) -> Arc<Index> {
        Arc::clone(&self.index.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the index: on disk first, then for readers. Nothing changes when `change` or the disk fails.
    async fn change<T>(&self, change: impl FnOnce(&mut Index) -> Result<T> + Send) -> Result<T> {
        let _turn = self.changing.lock().await;
        let mut index = Index::clone(&self.snapshot());
        let result = change(&mut index)?;
        self.store.save(&index).await?;
        self.noted.store(false, Ordering::Relaxed);
        self.publish(index);
        Ok(result)
    }

    /// Changes in the index what an engine that is killed may forget. It is on disk after the next
    /// [`Images::change`], or after [`Images::settle`].
    async fn note(&self, change: impl FnOnce(&mut Index) + Send) {
        let _turn = self.changing.lock().await;
        let mut index = Index::clone(&self.snapshot());
        change(&mut index);
        self.noted.store(true, Ordering::Relaxed);
        self.publish(index);
    }

    /// Puts on disk what is only noted; when the engine ends.
    pub async fn settle(&self) -> Result<()> {
        match self.noted.load(Ordering::Relaxed) {
            true => self.change(|_| Ok(())).await,
            false => Ok(()),
        }
    }

    fn publish(&self, index: Index) {
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
    }

    async fn config(&self, id: &str) -> Result<Arc<ConfigFile>> {
        let known = self.configs.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if let Some(config) = known {
            return Ok(config);
        }
        let config = Arc::new(self.store.config(id).await?);
        self.configs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned(), Arc::clone(&config));
        Ok(config)
    }

    async fn announce(&self, action: &str, id: &str, name: &str) {
        self.announce_as(action, id, id, name).await;
    }

    /// What goes to or comes from registries is announced under its name.
    async fn announce_as(&self, action: &str, id: &str, actor: &str, name: &str) {
        let labels = match self.config(id).await {
            Ok(config) => config.config.as_ref().and_then(|c| c.labels.clone()).unwrap_or_default(),
            Err(_) => HashMap::new(),
        };
        self.announce_with(action, actor, name, labels);
    }

    fn announce_with(&self, action: &str, id: &str, name: &str, labels: HashMap<String, String>) {
        let mut attributes: BTreeMap<String, String> = labels.into_iter().collect();
        attributes.insert("name".to_owned(), name.to_owned());
        self.events.publish(EventType::Image, action, id, attributes);
    }
}

/// What is kept of an image that has these layers.
fn record_of(layers: &[LayerInfo], tagged_at: Option<i64>) -> Record {
    // A layer may occur twice in an image; it is there once.
    let distinct: BTreeMap<&String, u64> = layers.iter().map(|layer| (&layer.diff_id, layer.size)).collect();
    Record {
        layers: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
        size: distinct.values().sum(),
        layer_sizes: layers.iter().map(|layer| layer.size).collect(),
        tagged_at,
        parent: None,
        manifest: None,
    }
}
