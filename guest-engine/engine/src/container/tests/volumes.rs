//! Containers and their volumes.

use super::{World, open};
use crate::{
    container::{CreateRequest, mounts::MountKind},
    error::ErrorKind,
};
use bollard_stubs::models::{ContainerConfig, HostConfig};

impl World {
    async fn with_volumes(&self, name: &str, binds: &[&str], from: &[&str], host: HostConfig) -> String {
        let list = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect::<Vec<_>>());
        let request = CreateRequest {
            name: Some(name.to_owned()),
            config: ContainerConfig {
                image: Some("busybox".into()),
                cmd: Some(vec!["cat".into()]),
                open_stdin: Some(true),
                volumes: list(&["/image"]),
                ..ContainerConfig::default()
            },
            host: HostConfig { binds: list(binds), volumes_from: list(from), ..host },
            ..CreateRequest::default()
        };
        self.containers.create(request).await.unwrap().id
    }

    fn volume_at(&self, container: &str, destination: &str) -> (String, bool) {
        let record = self.see(container).record;
        let mount = record.mounts.iter().find(|mount| mount.destination == destination).unwrap();
        let MountKind::Volume(volume) = &mount.kind else { panic!("{mount:?}") };
        (volume.name.clone(), mount.read_only)
    }

    fn volume_actions(&self) -> Vec<String> {
        let past = self.events.subscribe().0;
        past.into_iter()
            .filter(|event| event.kind == crate::events::EventType::Volume)
            .map(|event| event.action)
            .collect()
    }
}

#[tokio::test]
async fn anonymous_ones_go_with_their_container_and_named_ones_stay() {
    let world = World::new().await;
    let id = world.with_volumes("cc", &["data:/data"], &[], HostConfig::default()).await;
    let (anonymous, _) = world.volume_at("cc", "/image");
    assert_eq!(world.volume_at("cc", "/data").0, "data");
    assert_eq!(world.volumes.remove("data", true).await.unwrap_err().kind(), ErrorKind::Conflict);
    world.containers.start(&id).await.unwrap();
    world.containers.remove(&id, true, true).await.unwrap();
    assert!(world.volumes.get(&anonymous).is_err());
    world.volumes.remove("data", false).await.unwrap();
    let actions = world.volume_actions().join(" ");
    assert_eq!(actions, "create create mount mount unmount unmount destroy destroy");
}

#[tokio::test]
async fn without_v_they_stay_and_with_rm_they_go() {
    let world = World::new().await;
    world.with_volumes("kept", &[], &[], HostConfig::default()).await;
    let (kept, _) = world.volume_at("kept", "/image");
    world.containers.remove("kept", true, false).await.unwrap();
    world.volumes.get(&kept).unwrap();
    let rm = HostConfig { auto_remove: Some(true), ..HostConfig::default() };
    let id = world.with_volumes("gone", &[], &[], rm).await;
    let (gone, _) = world.volume_at("gone", "/image");
    world.containers.start(&id).await.unwrap();
    world.containers.kill(&id, None).await.unwrap();
    super::eventually(|| world.volumes.get(&gone).is_err()).await;
}

#[tokio::test]
async fn volumes_of_another_container_are_shared_and_own_mounts_come_first() {
    let world = World::new().await;
    world.with_volumes("first", &["data:/data", "/host:/bound"], &[], HostConfig::default()).await;
    world.with_volumes("second", &["own:/data"], &["first:ro"], HostConfig::default()).await;
    let (shared, _) = world.volume_at("first", "/image");
    assert_eq!(world.volume_at("second", "/image"), (shared.clone(), true));
    assert_eq!(world.volume_at("second", "/data"), ("own".to_owned(), false));
    let record = world.see("second").record;
    assert!(record.mounts.iter().any(|m| m.destination == "/bound" && m.read_only && m.mode.is_empty()));
    // The first one's anonymous volume outlives it for the second's sake.
    world.containers.remove("first", true, true).await.unwrap();
    world.volumes.get(&shared).unwrap();
    world.containers.remove("second", true, true).await.unwrap();
    assert!(world.volumes.get(&shared).is_err());
}

#[tokio::test]
async fn users_are_known_again_after_a_restart() {
    let world = World::new().await;
    let id = world.with_volumes("cc", &["data:/data"], &[], HostConfig::default()).await;
    world.containers.start(&id).await.unwrap();
    let (containers, volumes) =
        open(world.root.path(), &world.runtime, &world.layers, &world.links, &world.store, &world.events)
            .await;
    assert_eq!(volumes.remove("data", true).await.unwrap_err().kind(), ErrorKind::Conflict);
    containers.remove("cc", true, true).await.unwrap();
    volumes.remove("data", false).await.unwrap();
}

#[tokio::test]
async fn a_create_that_fails_leaves_no_volume_in_use() {
    let world = World::new().await;
    let request = CreateRequest {
        config: ContainerConfig {
            image: Some("busybox".into()),
            cmd: Some(vec!["true".into()]),
            ..ContainerConfig::default()
        },
        host: HostConfig { binds: Some(vec!["good:/a".into(), "b/d:/b".into()]), ..HostConfig::default() },
        ..CreateRequest::default()
    };
    let error = world.containers.create(request).await.unwrap_err();
    assert!(error.to_string().starts_with("create b/d: \"b/d\" includes invalid characters"), "{error}");
    world.volumes.remove("good", false).await.unwrap();
    assert!(world.containers.all().is_empty());
}
