//! Volumes: what outlives containers.
//!
//! A volume exists if and only if its record does, `volumes/NAME/volume.json` beside its data. Who uses it
//! is told by the containers, whose own records name their volumes: nothing has to be counted on disk. A
//! volume with options is mounted while a container that uses it runs.
//!
//! What changes one volume takes turns on it; different volumes do not wait for each other, because a
//! mount from the network may take its time.

mod name;
mod options;

use crate::{
    error::{EngineError, ErrorKind, Result},
    events::{EventType, Events},
    id::random_id,
    ports::{VolumeSource, VolumeStore},
    state_file,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

/// The only driver.
pub const LOCAL: &str = "local";
/// Label of volumes that nobody gave a name.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";
/// File of a volume's record in its folder.
const FILE: &str = "volume.json";

/// The volumes of this engine.
#[derive(Debug)]
pub struct Volumes {
    /// `<data root>/volumes`
    root: PathBuf,
    store: Arc<dyn VolumeStore>,
    events: Arc<Events>,
    known: Mutex<BTreeMap<String, Entry>>,
    /// One lock per volume that is being changed.
    changing: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    pruning: AtomicBool,
}

/// A volume as list and inspect show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    pub created: SystemTime,
    /// `None` when none were ever given.
    pub labels: Option<HashMap<String, String>>,
    pub options: Option<HashMap<String, String>>,
    pub mountpoint: PathBuf,
}

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeRequest {
    /// Empty to have one made up.
    pub name: String,
    /// Empty for the default.
    pub driver: String,
    pub labels: Option<HashMap<String, String>>,
    pub options: Option<HashMap<String, String>>,
}

/// What a prune took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrunedVolumes {
    pub names: Vec<String>,
    /// Bytes.
    pub reclaimed: u64,
}

/// Everything about a volume that outlives the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    created: SystemTime,
    labels: Option<HashMap<String, String>>,
    options: Option<HashMap<String, String>>,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    /// What is mounted over its folder while it is used.
    source: Option<VolumeSource>,
    /// Ids of containers that have it.
    users: BTreeSet<String>,
    /// Those for whom it is mounted now.
    mounted: BTreeSet<String>,
}

impl Volume {
    /// Whether nobody gave it a name.
    pub fn is_anonymous(&self) -> bool {
        self.labels.iter().flatten().any(|(key, _)| key == ANONYMOUS_LABEL)
    }

    /// Whether it has `key` or `key=value`.
    pub fn has_label(&self, wanted: &str) -> bool {
        let of = |key: &str| self.labels.iter().flatten().find(|(own, _)| *own == key);
        match wanted.split_once('=') {
            Some((key, value)) => of(key).is_some_and(|(_, own)| own == value),
            None => of(wanted).is_some(),
        }
    }

    /// Whether its folder is all there is of it: only such ones count as disk use.
    pub fn is_plain(&self) -> bool {
        self.options.as_ref().is_none_or(HashMap::is_empty)
    }
}

impl Volumes {
    /// Reads every volume's record.
    pub async fn open(data_root: &Path, store: Arc<dyn VolumeStore>, events: Arc<Events>) -> Result<Self> {
        let root = data_root.join("volumes");
        let known = read(&root).await?;
        let (known, changing) = (Mutex::new(known), Mutex::default());
        Ok(Self { root, store, events, known, changing, pruning: AtomicBool::new(false) })
    }

    /// Makes a volume; one that is there already is the answer, whatever it was made with.
    pub async fn create(&self, request: VolumeRequest) -> Result<Volume> {
        self.create_for(request, None).await
    }

    /// The same, and from the first moment on the volume is used by `user`.
    pub(crate) async fn create_for(&self, mut request: VolumeRequest, user: Option<&str>) -> Result<Volume> {
        if request.name.is_empty() {
            request.name = random_id()?;
            request.labels.get_or_insert_default().insert(ANONYMOUS_LABEL.to_owned(), String::new());
        }
        let VolumeRequest { name, driver, labels, options } = request;
        let failed = |e: EngineError| EngineError::new(e.kind(), format!("create {name}: {e}"));
        name::check(&name).map_err(failed)?;
        if !matches!(driver.as_str(), "" | LOCAL) {
            return Err(failed(EngineError::not_found(format!(
                "error looking up volume plugin {driver}: plugin {driver:?} not found"
            ))));
        }
        let source = options::source(options.as_ref().unwrap_or(&HashMap::new())).map_err(failed)?;
        let lock = self.lock_of(&name);
        let _changing = lock.lock().await;
        if let Some(entry) = self.known().get_mut(&name) {
            entry.users.extend(user.map(str::to_owned));
            return Ok(self.view(&name, &entry.record));
        }
        let record = Record { created: SystemTime::now(), labels, options };
        self.store.create(&name).await.map_err(failed)?;
        if let Err(error) = state_file::save(&self.file(&name), &record).await {
            if let Err(left) = self.store.remove(&name).await {
                tracing::warn!(error = %left, name, "A volume's folder was left behind");
            }
            return Err(failed(error));
        }
        let volume = self.view(&name, &record);
        let users = user.map(str::to_owned).into_iter().collect();
        self.known().insert(name.clone(), Entry { record, source, users, mounted: BTreeSet::new() });
        self.announce(&name, "create", [("driver", LOCAL.to_owned())]);
        Ok(volume)
    }

    /// The volume with this name.
    pub fn get(&self, name: &str) -> Result<Volume> {
        let known = self.known();
        known.get(name).map(|entry| self.view(name, &entry.record)).ok_or_else(|| no_such(name))
    }

    /// Every volume by name, and how many containers use it.
    pub fn all(&self) -> Vec<(Volume, usize)> {
        let known = self.known();
        known.iter().map(|(name, entry)| (self.view(name, &entry.record), entry.users.len())).collect()
    }

    /// Bytes in a volume.
    pub async fn size(&self, name: &str) -> Result<u64> {
        self.store.size(name).await
    }

    /// Removes a volume that nobody uses. With `force` one that does not exist is removed as well.
    pub async fn remove(&self, name: &str, force: bool) -> Result<()> {
        let lock = self.lock_of(name);
        let _changing = lock.lock().await;
        let users: Vec<String> = match self.known().get(name) {
            Some(entry) => entry.users.iter().cloned().collect(),
            None if force => return Ok(()),
            None => return Err(no_such(name)),
        };
        if !users.is_empty() {
            return Err(EngineError::conflict(format!(
                "remove {name}: volume is in use - [{}]",
                users.join(", ")
            )));
        }
        let failed = |e: EngineError| EngineError::new(e.kind(), format!("remove {name}: {e}"));
        self.store.unmount(name).await.map_err(failed)?;
        self.store.remove(name).await.map_err(failed)?;
        self.known().remove(name);
        self.announce(name, "destroy", [("driver", LOCAL.to_owned())]);
        Ok(())
    }

    /// Removes every unused volume without options that `wanted` accepts.
    pub async fn prune(&self, wanted: impl Fn(&Volume) -> bool) -> Result<PrunedVolumes> {
        if self.pruning.swap(true, Ordering::Acquire) {
            return Err(EngineError::conflict("a prune operation is already running"));
        }
        let pruned = self.prune_alone(wanted).await;
        self.pruning.store(false, Ordering::Release);
        let reclaimed = BTreeMap::from([("reclaimed".to_owned(), pruned.reclaimed.to_string())]);
        self.events.publish(EventType::Volume, "prune", "", reclaimed);
        Ok(pruned)
    }

    async fn prune_alone(&self, wanted: impl Fn(&Volume) -> bool) -> PrunedVolumes {
        let mut pruned = PrunedVolumes::default();
        for (volume, users) in self.all() {
            if users > 0 || !volume.is_plain() || !wanted(&volume) {
                continue;
            }
            let size = self.size(&volume.name).await.unwrap_or(0);
            match self.remove(&volume.name, false).await {
                Ok(()) => {
                    pruned.reclaimed += size;
                    pruned.names.push(volume.name);
                }
                // Used or removed by somebody else meanwhile.
                Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
                Err(error) => tracing::warn!(%error, volume = volume.name, "A volume could not be pruned"),
            }
        }
        pruned
    }

    /// After a restart: `container` has this volume, and maybe runs with it.
    pub(crate) fn readopt(&self, name: &str, container: &str, running: bool) {
        match self.known().get_mut(name) {
            Some(entry) => {
                entry.users.insert(container.to_owned());
                if running {
                    entry.mounted.insert(container.to_owned());
                }
            }
            None => tracing::error!(volume = name, container, "A container's volume does not exist any more"),
        }
    }

    /// `container` uses an existing volume from now on.
    pub(crate) fn claim(&self, name: &str, container: &str) -> Result<()> {
        let mut known = self.known();
        let entry = known.get_mut(name).ok_or_else(|| no_such(name))?;
        entry.users.insert(container.to_owned());
        Ok(())
    }

    /// `container` does not use the volume any more.
    pub(crate) fn release(&self, name: &str, container: &str) {
        if let Some(entry) = self.known().get_mut(name) {
            entry.users.remove(container);
        }
    }

    /// Makes the volume's data available to `user`, a container that starts or an operation, and says
    /// where it is. Harmless to repeat.
    pub(crate) async fn mount(&self, name: &str, user: &str) -> Result<PathBuf> {
        let lock = self.lock_of(name);
        let _changing = lock.lock().await;
        let source = match self.known().get(name) {
            Some(entry) if entry.mounted.is_empty() => entry.source.clone(),
            Some(_) => None,
            None => return Err(no_such(name)),
        };
        // Gone only when somebody tampered with the data root.
        self.store.create(name).await?;
        let data = self.store.data(name);
        if let Some(source) = source {
            self.store.mount(name, &source).await.map_err(|e| {
                EngineError::new(
                    e.kind(),
                    format!(
                        "error while mounting volume '{}': failed to mount local volume: {e}",
                        data.display()
                    ),
                )
            })?;
        }
        if let Some(entry) = self.known().get_mut(name) {
            entry.mounted.insert(user.to_owned());
        }
        Ok(data)
    }

    /// `user` does not need the data any more. Says whether it had.
    pub(crate) async fn unmount(&self, name: &str, user: &str) -> bool {
        let lock = self.lock_of(name);
        let _changing = lock.lock().await;
        let (had, over) = match self.known().get_mut(name) {
            Some(entry) => (entry.mounted.remove(user), entry.mounted.is_empty() && entry.source.is_some()),
            None => return false,
        };
        if over && let Err(error) = self.store.unmount(name).await {
            tracing::warn!(%error, volume = name, "A volume stayed mounted");
        }
        had
    }

    /// See [`VolumeStore::pin`].
    pub(crate) async fn pin(&self, container: &str, name: &str, subpath: &str) -> Result<PathBuf> {
        self.store.pin(container, name, subpath).await
    }

    /// See [`VolumeStore::unpin`].
    pub(crate) async fn unpin(&self, container: &str) {
        if let Err(error) = self.store.unpin(container).await {
            tracing::warn!(%error, container, "Parts of volumes stayed mounted");
        }
    }

    pub(crate) fn announce<const N: usize>(&self, name: &str, action: &str, more: [(&str, String); N]) {
        let attributes = more.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        self.events.publish(EventType::Volume, action, name, attributes);
    }

    fn view(&self, name: &str, record: &Record) -> Volume {
        Volume {
            name: name.to_owned(),
            created: record.created,
            labels: record.labels.clone(),
            options: record.options.clone(),
            mountpoint: self.store.data(name),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.join(name).join(FILE)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_of(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        changing.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = changing.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        changing.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

fn no_such(name: &str) -> EngineError {
    EngineError::not_found(format!("get {name}: no such volume"))
}

async fn read(root: &Path) -> Result<BTreeMap<String, Entry>> {
    let failed = |e: io::Error| {
        EngineError::system(format!("Could not read volumes in {}", root.display())).because(e)
    };
    let mut known = BTreeMap::new();
    let mut folders = match tokio::fs::read_dir(root).await {
        Ok(folders) => folders,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(known),
        Err(e) => return Err(failed(e)),
    };
    while let Some(folder) = folders.next_entry().await.map_err(failed)? {
        let Ok(name) = folder.file_name().into_string() else { continue };
        if name::check(&name).is_err() {
            continue;
        }
        match state_file::load::<Record>(&folder.path().join(FILE)).await {
            Ok(Some(record)) => {
                let options = record.options.clone().unwrap_or_default();
                // Checked when it was made.
                let source = options::source(&options)?;
                let (users, mounted) = (BTreeSet::new(), BTreeSet::new());
                known.insert(name, Entry { record, source, users, mounted });
            }
            // Its creation was never acknowledged. Data is not ours to throw away.
            Ok(None) => tracing::warn!(volume = name, "A volume's folder without a record is left alone"),
            // One damaged record must not take the others down.
            Err(error) => tracing::error!(%error, volume = name, "A volume's record cannot be read"),
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryVolumes;

    struct World {
        root: tempfile::TempDir,
        store: Arc<MemoryVolumes>,
        events: Arc<Events>,
        volumes: Volumes,
    }

    async fn world() -> World {
        let root = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryVolumes::new(root.path()));
        let events = Arc::new(Events::default());
        let volumes = Volumes::open(root.path(), store.clone(), events.clone()).await.unwrap();
        World { root, store, events, volumes }
    }

    fn named(name: &str) -> VolumeRequest {
        VolumeRequest { name: name.into(), ..VolumeRequest::default() }
    }

    fn tmpfs(name: &str) -> VolumeRequest {
        let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")];
        let options = options.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        VolumeRequest { options: Some(options), ..named(name) }
    }

    #[tokio::test]
    async fn volumes_come_back_after_a_restart_and_are_made_once() {
        let world = world().await;
        let labels = Some(HashMap::from([("a".to_owned(), "b".to_owned())]));
        let first = world.volumes.create(VolumeRequest { labels, ..named("data") }).await.unwrap();
        assert_eq!(world.volumes.create(named("data")).await.unwrap(), first);
        let again = Volumes::open(world.root.path(), world.store, world.events.clone()).await.unwrap();
        assert_eq!(again.get("data").unwrap(), first);
        assert!(first.has_label("a") && first.has_label("a=b") && !first.has_label("a=c"));
        assert_eq!(world.events.subscribe().0.len(), 1, "one create, one event");
    }

    #[tokio::test]
    async fn what_is_used_stays() {
        let World { volumes, .. } = world().await;
        volumes.create_for(named("data"), Some("c1")).await.unwrap();
        let error = volumes.remove("data", true).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(error.to_string(), "remove data: volume is in use - [c1]");
        volumes.release("data", "c1");
        volumes.remove("data", false).await.unwrap();
        assert_eq!(volumes.remove("data", false).await.unwrap_err().to_string(), "get data: no such volume");
        volumes.remove("data", true).await.unwrap();
    }

    #[tokio::test]
    async fn prune_takes_what_is_wanted_unused_and_plain() {
        let World { volumes, .. } = world().await;
        let anonymous = volumes.create(VolumeRequest::default()).await.unwrap();
        assert!(anonymous.is_anonymous() && anonymous.name.len() == 64);
        volumes.create(named("named")).await.unwrap();
        volumes.create(tmpfs("memory")).await.unwrap();
        volumes.create_for(named("used"), Some("c")).await.unwrap();
        let pruned = volumes.prune(Volume::is_anonymous).await.unwrap();
        assert_eq!(pruned.names, [anonymous.name]);
        assert_eq!(volumes.prune(|_| true).await.unwrap().names, ["named"]);
        assert_eq!(volumes.all().len(), 2);
    }

    #[tokio::test]
    async fn options_are_mounted_while_somebody_needs_them() {
        let World { volumes, store, .. } = world().await;
        volumes.create(tmpfs("memory")).await.unwrap();
        volumes.mount("memory", "c1").await.unwrap();
        volumes.mount("memory", "c2").await.unwrap();
        assert!(volumes.unmount("memory", "c1").await);
        assert!(!volumes.unmount("memory", "c1").await);
        assert_eq!(store.mounted().len(), 1);
        assert!(volumes.unmount("memory", "c2").await);
        assert!(store.mounted().is_empty());
    }

    #[tokio::test]
    async fn refusals_name_the_volume() {
        let World { volumes, .. } = world().await;
        let refused = async |request| volumes.create(request).await.unwrap_err().to_string();
        assert_eq!(
            refused(VolumeRequest { driver: "flocker".into(), ..named("x1") }).await,
            "create x1: error looking up volume plugin flocker: plugin \"flocker\" not found"
        );
        assert!(
            refused(named("../x")).await.starts_with("create ../x: \"../x\" includes invalid characters")
        );
        assert!(volumes.all().is_empty());
    }
}
