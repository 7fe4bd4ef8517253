//! The services side by side. Wiring only: what they do stands with each.

use crate::{
    build::Builder,
    container::{Containers, ImageLookup, ResolvedImage, Snapshot},
    error::Result,
    events::Events,
    image::{ImageUser, ImageUsers, Images},
    network::{BRIDGE_INTERFACE, Networks},
    platform::Platform,
    ports::{ContainerFiles, ContainerRuntime, HostPorts, LayerStore, LinkLayer, VolumeStore},
    registry::{Registries, RegistryOptions},
    system::{HostFacts, System, engine_id},
    volume::Volumes,
};
use async_trait::async_trait;
use std::{path::PathBuf, sync::Arc};

/// The whole domain.
#[derive(Debug)]
pub struct Engine {
    /// What happened.
    pub events: Arc<Events>,
    pub images: Arc<Images>,
    pub registries: Arc<Registries>,
    pub networks: Arc<Networks>,
    pub volumes: Arc<Volumes>,
    pub containers: Containers,
    pub builder: Arc<Builder>,
    /// The engine itself and its machine.
    pub system: System,
}

/// Where the engine lives and what it is told about itself.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Everything that outlives a boot.
    pub data_root: PathBuf,
    /// Memory: gone with the machine's power.
    pub run_root: PathBuf,
    /// `key=value`, shown by `docker info`.
    pub labels: Vec<String>,
    /// Interface name of the default bridge, where it is not the usual one.
    pub bridge: Option<String>,
    pub registries: RegistryOptions,
    pub host: HostFacts,
}

/// What the engine asks of its surroundings.
#[derive(Clone, Debug)]
pub struct Ports {
    pub runtime: Arc<dyn ContainerRuntime>,
    pub layers: Arc<dyn LayerStore>,
    pub files: Arc<dyn ContainerFiles>,
    pub volumes: Arc<dyn VolumeStore>,
    pub links: Arc<dyn LinkLayer>,
    pub host_ports: Arc<dyn HostPorts>,
}

impl Engine {
    /// Reads all state and takes running containers over. The data root belongs to this engine alone.
    pub async fn open(settings: Settings, ports: Ports) -> Result<Self> {
        let root = &settings.data_root;
        let events = Arc::new(Events::default());
        let images = Arc::new(Images::open(root, Arc::clone(&ports.layers), Arc::clone(&events)).await?);
        let registries = Arc::new(Registries::new(settings.registries.clone()));
        let bridge = settings.bridge.as_deref().unwrap_or(BRIDGE_INTERFACE);
        let (links, host_ports) = (Arc::clone(&ports.links), Arc::clone(&ports.host_ports));
        let networks = Arc::new(Networks::open(root, links, host_ports, Arc::clone(&events), bridge).await?);
        let volumes = Arc::new(Volumes::open(root, Arc::clone(&ports.volumes), Arc::clone(&events)).await?);
        let lookup: Arc<dyn ImageLookup> = Arc::clone(&images) as _;
        let containers = Containers::open(
            root,
            ports.clone(),
            Arc::clone(&volumes),
            Arc::clone(&networks),
            Arc::clone(&events),
            lookup,
        )
        .await?;
        images.set_users(Arc::new(containers.clone()));
        images.scrub().await?;
        let builder = Builder::open(
            root,
            &settings.run_root,
            Arc::clone(&images),
            containers.clone(),
            ports.layers,
            Arc::clone(&registries),
        )
        .await;
        let system = System {
            id: engine_id(root).await?,
            host: settings.host,
            data_root: settings.data_root,
            labels: settings.labels,
            insecure_registries: settings.registries.insecure,
            registry_mirrors: settings.registries.mirrors,
        };
        Ok(Self {
            events,
            images,
            registries,
            networks,
            volumes,
            containers,
            builder: Arc::new(builder),
            system,
        })
    }
}

#[async_trait]
impl ImageLookup for Images {
    async fn resolve(&self, reference: &str) -> Result<ResolvedImage> {
        let image = self.get(reference).await?;
        let config = image.config.config.clone().unwrap_or_default();
        let platform = Platform {
            os: image.config.os.clone(),
            architecture: image.config.architecture.clone(),
            variant: image.config.variant.clone().unwrap_or_default(),
        };
        Ok(ResolvedImage { id: image.id, config, platform, diff_ids: image.layers })
    }
}

impl ImageUsers for Containers {
    fn image_users(&self) -> Vec<ImageUser> {
        let claim = |snapshot: Snapshot| ImageUser {
            container: snapshot.record.id.clone(),
            image: snapshot.record.image_id.clone(),
            running: snapshot.record.state.status.counts_as_running(),
        };
        self.all().into_iter().map(claim).collect()
    }
}
