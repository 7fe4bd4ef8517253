//! What goes wrong with a QEMU, and what the driver makes of it.

use crate::{fake_qemu, image};
use driver_kvm::KvmDriver;
use machine_drivers::{Driver, DriverError, Instance, InstanceState, MachineSpec, Silent};
use nix::{sys::signal, unistd::Pid};
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::time::sleep;

struct Fixture {
    _root: TempDir,
    driver: KvmDriver,
    spec: MachineSpec,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("temporary folder");
        image::make(&root.path().join("image"), b"no kernel");
        let driver = KvmDriver::with_qemu(fake_qemu::install(root.path()));
        let spec = image::spec(root.path(), "dev");
        Self { _root: root, driver, spec }
    }

    async fn running() -> (Self, Instance) {
        let fixture = Self::new();
        let instance = fixture.driver.create(&fixture.spec, &Silent).await.expect("create");
        fixture.driver.start(&instance, &Silent).await.expect("start");
        (fixture, instance)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.spec.directory.join(name)
    }

    fn pid(&self) -> Pid {
        let text = fs::read_to_string(self.file("qemu.pid")).expect("pid file");
        Pid::from_raw(text.trim().parse().expect("pid"))
    }

    async fn becomes(&self, instance: &Instance, wanted: InstanceState) {
        let start = Instant::now();
        while self.driver.state(instance).await.expect("state") != wanted {
            assert!(start.elapsed() < Duration::from_secs(60), "never {wanted}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_killed_qemu_is_an_error_and_starts_again() {
    let (f, instance) = Fixture::running().await;
    signal::kill(f.pid(), signal::Signal::SIGKILL).unwrap();
    f.becomes(&instance, InstanceState::Error).await;
    assert!(matches!(f.driver.access(&instance).await, Err(DriverError::NotRunning { .. })));
    // Its pid file and its sockets are still there.
    assert!(f.file("qemu.pid").exists() && f.file("qmp.sock").exists());
    f.driver.start(&instance, &Silent).await.unwrap();
    assert_eq!(f.driver.state(&instance).await.unwrap(), InstanceState::Running);
    assert!(f.file("console.log.1").exists(), "the console of the boot before is kept");
    f.driver.remove(&instance).await.unwrap();
}

#[tokio::test]
async fn a_pid_file_that_names_somebody_else_is_not_believed() {
    let f = Fixture::new();
    let instance = f.driver.create(&f.spec, &Silent).await.unwrap();
    fs::write(f.file("qemu.pid"), format!("{}\n", std::process::id())).unwrap();
    assert_eq!(f.driver.state(&instance).await.unwrap(), InstanceState::Stopped);
    f.driver.kill(&instance).await.unwrap();
    f.driver.remove(&instance).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_powers_itself_off_is_stopped_and_one_that_panics_is_an_error() {
    let (f, instance) = Fixture::running().await;
    fake_qemu::tell_guest(&f.spec.directory, "poweroff\n");
    f.becomes(&instance, InstanceState::Stopped).await;
    f.driver.start(&instance, &Silent).await.unwrap();
    fake_qemu::tell_guest(&f.spec.directory, "panic\n");
    f.becomes(&instance, InstanceState::Error).await;
    let console = f.driver.console_tail(&instance, 1).await.unwrap();
    assert_eq!(console, ["[    1.0] Kernel panic - not syncing: asked to"]);
    f.driver.remove(&instance).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_does_not_obey_runs_on_and_is_killed() {
    let (f, instance) = Fixture::running().await;
    fs::write(f.file(fake_qemu::IGNORES_POWER), "").unwrap();
    let grace = Duration::from_millis(300);
    let error = f.driver.stop(&instance, grace).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error:?}");
    assert_eq!(f.driver.state(&instance).await.unwrap(), InstanceState::Running);
    // A QEMU that does not quit when asked is killed.
    fs::write(f.file(fake_qemu::IGNORES_QUIT), "").unwrap();
    f.driver.kill(&instance).await.unwrap();
    assert_eq!(f.driver.state(&instance).await.unwrap(), InstanceState::Stopped);
    f.driver.remove(&instance).await.unwrap();
}

#[tokio::test]
async fn keeps_its_port_while_it_is_free_and_takes_another_when_not() {
    let (f, instance) = Fixture::running().await;
    let port = f.driver.access(&instance).await.unwrap().ssh.port;
    f.driver.stop(&instance, Duration::from_secs(10)).await.unwrap();
    f.driver.start(&instance, &Silent).await.unwrap();
    assert_eq!(f.driver.access(&instance).await.unwrap().ssh.port, port);
    f.driver.stop(&instance, Duration::from_secs(10)).await.unwrap();
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    f.driver.start(&instance, &Silent).await.unwrap();
    assert_ne!(f.driver.access(&instance).await.unwrap().ssh.port, port);
    f.driver.remove(&instance).await.unwrap();
}

#[tokio::test]
async fn says_what_qemu_said() {
    let f = Fixture::new();
    let instance = f.driver.create(&f.spec, &Silent).await.unwrap();
    fs::write(f.file(fake_qemu::FAILS), "cannot set up guest memory 'ram': Cannot allocate memory").unwrap();
    let error = f.driver.start(&instance, &Silent).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "QEMU could not start the machine: cannot set up guest memory 'ram': Cannot allocate memory"
    );
    assert_eq!(f.driver.state(&instance).await.unwrap(), InstanceState::Stopped);
    fs::write(f.file(fake_qemu::FAILS), "Could not set up host forwarding rule 'x'").unwrap();
    let error = f.driver.start(&instance, &Silent).await.unwrap_err();
    assert_eq!(error.to_string(), "Other programs took every free TCP port before QEMU could");
}

#[tokio::test]
async fn a_missing_qemu_is_a_sentence_with_a_hint() {
    let f = Fixture::new();
    let driver = KvmDriver::with_qemu("/nowhere/qemu-system-x86_64");
    let error = driver.check(&f.spec).await.unwrap_err();
    let DriverError::Prerequisite { what, hint } = error else { panic!("{error:?}") };
    assert_eq!(what, "QEMU is not installed: there is no /nowhere/qemu-system-x86_64");
    assert_eq!(hint, "Install it with: sudo apt-get install qemu-system-x86");
}

#[tokio::test]
async fn a_damaged_image_leaves_nothing_behind() {
    let f = Fixture::new();
    let kernel = f.spec.image.as_ref().unwrap().join("vmlinux.zst");
    let mut bytes = fs::read(&kernel).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&kernel, bytes).unwrap();
    let error = f.driver.create(&f.spec, &Silent).await.unwrap_err();
    assert!(matches!(error, DriverError::Prerequisite { .. }), "{error:?}");
    assert_eq!(fs::read_dir(&f.spec.directory).unwrap().count(), 0);
    let cache: Vec<_> =
        fs::read_dir(&f.spec.cache).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(cache.iter().all(|name| Path::new(name).extension().is_none_or(|e| e != "partial")), "{cache:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_made_at_once_share_one_unpacked_kernel() {
    let root = tempfile::tempdir().unwrap();
    image::make(&root.path().join("image"), &vec![7; 3 << 20]);
    let qemu = fake_qemu::install(root.path());
    let makers = (0..8).map(|number| {
        let spec = image::spec(root.path(), &format!("m{number}"));
        let driver = KvmDriver::with_qemu(&qemu);
        tokio::spawn(async move { driver.create(&spec, &Silent).await })
    });
    for maker in makers.collect::<Vec<_>>() {
        maker.await.unwrap().unwrap();
    }
    let cached: Vec<_> =
        fs::read_dir(root.path().join("cache")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(cached.len(), 2, "{cached:?}");

    // A host that crashed leaves a file that is too short; the next start unpacks it again.
    let kernel = cached.iter().find(|path| path.metadata().unwrap().len() == 3 << 20).unwrap();
    fs::File::options().write(true).open(kernel).unwrap().set_len(5).unwrap();
    let driver = KvmDriver::with_qemu(&qemu);
    let instance = driver.create(&image::spec(root.path(), "m0"), &Silent).await.unwrap();
    driver.start(&instance, &Silent).await.unwrap();
    assert_eq!(fs::read(kernel).unwrap(), vec![7; 3 << 20]);
    driver.remove(&instance).await.unwrap();
}
