//! Machines for the tests of providers.

use machine_drivers::{Driver, DriverOptions, Identity, MachineSpec, OptionValue, Progress};
use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

static NUMBER: AtomicU32 = AtomicU32::new(1);

/// The driver of that name, which looks often.
pub(crate) fn driver(name: &str) -> Arc<dyn Driver> {
    polling(name, Duration::from_millis(2))
}

/// The same at the pace of real life.
pub(crate) fn patient(name: &str) -> Arc<dyn Driver> {
    polling(name, Duration::from_secs(2))
}

/// The same at any pace.
pub(crate) fn polling(name: &str, poll: Duration) -> Arc<dyn Driver> {
    let drivers = driver_cloud::providers(poll);
    drivers.into_iter().find(|driver| driver.name() == name).unwrap()
}

/// A machine of its own in `folder`.
pub(crate) fn spec(folder: &Path, options: &[(&str, &str)]) -> MachineSpec {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let option = |(name, value): &(&str, &str)| match *value {
        "" => ((*name).to_owned(), OptionValue::Flag),
        value => ((*name).to_owned(), OptionValue::Text(value.to_owned())),
    };
    let options: DriverOptions = options.iter().map(option).collect();
    MachineSpec {
        name: format!("ci-{number}"),
        machine_id: format!("{number:032x}"),
        owner: "0123456789abcdef0123456789abcdef".to_owned(),
        identity: Identity {
            authorized_key:
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0tnLFLMfYvAmLBTsYrHHYyKc5pHBQ5YhBKlQr8Vw1C machine"
                    .to_owned(),
            host_public: "ssh-ed25519 BBBB machine-host".to_owned(),
            host_private: "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n-----END OPENSSH PRIVATE KEY-----\n"
                .to_owned(),
        },
        directory: folder.to_owned(),
        cache: folder.join("cache"),
        image: None,
        cpus: None,
        memory_mib: None,
        disk_gib: None,
        options,
    }
}

/// What a user was told on the way.
#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<String>>);

impl Told {
    pub(crate) fn steps(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Progress for Told {
    fn step(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}
