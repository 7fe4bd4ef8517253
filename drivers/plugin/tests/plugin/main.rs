//! A real plugin of Go's, built here from Go's own library, and false ones.
#![expect(clippy::unwrap_used, reason = "Clippy knows tests by #[test] only; here everything is test code")]

mod toy;
mod unruly;

use machine_drivers::{Identity, MachineSpec, OptionValue};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};
use tempfile::TempDir;

/// The plugin in `tests/go/toy`, built once.
fn toy() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let program = out.join("docker-machine-driver-toy");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg("./toy")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go"))
            .env("GOCACHE", out.join("go-cache"))
            .output()
            .expect("Go is installed (golang-go)");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        program
    })
}

/// A store with one machine's folder in it, and a cloud.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("store/machines/dev")).unwrap();
        fs::create_dir_all(folder.path().join("cloud")).unwrap();
        Self { folder }
    }

    fn machine(&self) -> PathBuf {
        self.folder.path().join("store/machines/dev")
    }

    fn spec(&self) -> MachineSpec {
        let cloud = self.folder.path().join("cloud").display().to_string();
        MachineSpec {
            name: "dev".to_owned(),
            machine_id: self.folder.path().display().to_string(),
            owner: "store".to_owned(),
            identity: Identity::default(),
            directory: self.machine(),
            cache: self.folder.path().join("cache"),
            image: None,
            cpus: None,
            memory_mib: None,
            disk_gib: None,
            options: [("toy-cloud".to_owned(), OptionValue::Text(cloud))].into(),
        }
    }

    fn failing(&self, step: &str) -> MachineSpec {
        let mut spec = self.spec();
        spec.options.insert("toy-fail".to_owned(), OptionValue::Text(step.to_owned()));
        spec
    }

    fn vms(&self) -> usize {
        fs::read_dir(self.folder.path().join("cloud")).unwrap().count()
    }

    fn left(&self) -> usize {
        fs::read_dir(self.machine()).unwrap().count()
    }

    /// Another name for a program.
    fn called(&self, program: &Path, name: &str) -> PathBuf {
        let link = self.folder.path().join(format!("docker-machine-driver-{name}"));
        symlink(program, &link).unwrap();
        link
    }
}
