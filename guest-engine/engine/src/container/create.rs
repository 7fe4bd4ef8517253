//! Making containers: everything is checked, reserved and on disk before anybody hears of the id.

use super::{
    Containers, Shared, actor::Actor, index::Handle, merge::merge, mounts::MountKind, platform,
    record::Record, start::missing_source, state::State, to_the_end, validate,
};
use crate::{
    error::{EngineError, Result},
    id::random_id,
    name,
    network::NetworkMode,
};
use bollard_stubs::models::{ContainerConfig, EndpointSettings, HostConfig};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};

/// How many made-up names are tried before giving up.
const NAME_ATTEMPTS: u32 = 32;

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    /// As given; `None` has one made up.
    pub name: Option<String>,
    /// `os/architecture`; `None` takes what there is.
    pub platform: Option<String>,
    pub config: ContainerConfig,
    pub host: HostConfig,
    /// `NetworkingConfig.EndpointsConfig`
    pub endpoints: HashMap<String, EndpointSettings>,
    /// `Config.MacAddress`, which API 1.44 replaced by the endpoints' own: that of the main network.
    pub mac_address: Option<String>,
}

/// What it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    pub id: String,
    pub warnings: Vec<String>,
}

impl Containers {
    /// Makes a container, not running yet. On failure nothing is left.
    pub async fn create(&self, request: CreateRequest) -> Result<Created> {
        let shared = self.shared.clone();
        to_the_end(async move { shared.create(request).await }).await
    }
}

impl Shared {
    async fn create(self: Arc<Self>, request: CreateRequest) -> Result<Created> {
        let CreateRequest { name, platform, mut config, mut host, endpoints, mac_address } = request;
        let name =
            name.filter(|n| !n.is_empty()).map(|n| name::validate(&n).map(str::to_owned)).transpose()?;
        let reference = config.image.clone().unwrap_or_default();
        if reference.is_empty() {
            return Err(EngineError::invalid("no command specified"));
        }
        let image = self.images.resolve(&reference).await?;
        let mismatch = platform::check(&reference, &image.platform, platform.as_deref())?;
        merge(&mut config, &image.config)?;
        let mut warnings = validate::normalise(&config, &mut host)?;
        warnings.splice(..0, mismatch);
        self.check_links(&host)?;
        let mut endpoints = self.settle_endpoints(&host, endpoints)?;
        if let Some(mac) = mac_address.filter(|mac| !mac.is_empty()) {
            self.settle_mac(&host, &mut endpoints, mac)?;
        }
        if config.network_disabled == Some(true) {
            endpoints.clear();
        }
        self.resolve_network(&mut config, &mut host).await?;

        let id = random_id()?;
        let mut record = Record {
            id: id.clone(),
            name: String::new(),
            created: SystemTime::now(),
            image_id: image.id,
            layers: image.diff_ids,
            config,
            host,
            mounts: Vec::new(),
            endpoints,
            state: State::default(),
            attached: BTreeMap::new(),
            ports: Vec::new(),
            restarts: 0,
            manually_stopped: false,
            removing_volumes: false,
        };
        record.mounts = self.mounts_of(&record)?;
        for mount in &record.mounts {
            if let MountKind::Bind(bind) = &mount.kind
                && !bind.create
                && tokio::fs::symlink_metadata(&bind.source).await.is_err()
            {
                return Err(missing_source(&bind.source));
            }
        }
        let name = self.reserve_name(name.as_deref(), &id)?;
        record.name.clone_from(&name);
        if let Err(error) = self.make(record).await {
            self.index.release(&name, &id);
            return Err(error);
        }
        Ok(Created { id, warnings })
    }

    async fn make(self: &Arc<Self>, mut record: Record) -> Result<()> {
        self.claim_volumes(&mut record).await?;
        let (actor, handle) = Actor::new(self.clone(), record);
        if let Err(error) = self.furnish(&actor).await {
            let id = &actor.record.id;
            if let Err(error) = self.layers.remove_rootfs(id).await {
                tracing::warn!(%error, container = id, "Root filesystem was left behind");
            }
            drop(tokio::fs::remove_dir_all(self.folder(id)).await);
            self.release_volumes(&actor.record, true).await;
            return Err(error);
        }
        self.index.insert(handle);
        self.announce(&actor.record, "create", &[]);
        tokio::spawn(actor.run());
        Ok(())
    }

    /// Everything of it on disk, the record last.
    async fn furnish(&self, actor: &Actor) -> Result<()> {
        let record = &actor.record;
        self.layers.create_rootfs(&record.id, &record.layers).await?;
        self.layers.add_base_files(&record.id).await?;
        self.fill_volumes(record).await?;
        actor.persist().await
    }

    fn reserve_name(&self, given: Option<&str>, id: &str) -> Result<String> {
        if let Some(name) = given {
            self.index.reserve(name, id)?;
            return Ok(name.to_owned());
        }
        for attempt in 0..NAME_ATTEMPTS {
            let name = name::random(attempt)?;
            if self.index.reserve(&name, id).is_ok() {
                return Ok(name);
            }
        }
        let name = crate::id::short(id).to_owned();
        self.index.reserve(&name, id)?;
        Ok(name)
    }

    /// Names another container by its id, and takes over what comes with a shared network.
    async fn resolve_network(&self, config: &mut ContainerConfig, host: &mut HostConfig) -> Result<()> {
        let unnamed = config.hostname.as_deref().is_none_or(str::is_empty);
        match NetworkMode::parse(host.network_mode.as_deref().unwrap_or_default())? {
            NetworkMode::Container(key) => {
                let other = self.lender(&key)?.record();
                host.network_mode = Some(NetworkMode::Container(other.id.clone()).as_text());
                config.hostname = Some(other.hostname());
            }
            NetworkMode::Host if unnamed => {
                let name = tokio::fs::read_to_string("/proc/sys/kernel/hostname").await.unwrap_or_default();
                config.hostname = Some(name.trim().to_owned()).filter(|name| !name.is_empty());
            }
            _ => {}
        }
        for mode in [&mut host.pid_mode, &mut host.ipc_mode].into_iter().flatten() {
            if let Some(key) = mode.strip_prefix("container:") {
                *mode = format!("container:{}", self.lender(key)?.id);
            }
        }
        Ok(())
    }

    /// The container whose namespace is asked for. Without it the request makes no sense; a 404 would be
    /// taken for a missing image, and the image pulled.
    fn lender(&self, key: &str) -> Result<Handle> {
        self.index.find(key).map_err(|error| EngineError::invalid(error.to_string()))
    }
}
