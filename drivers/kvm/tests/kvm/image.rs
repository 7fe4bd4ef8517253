//! A guest image small enough to make for every test.

use guest_contract::{
    ImageManifest,
    image::{Artifact, MANIFEST_VERSION},
    paths::image_files,
};
use machine_drivers::{Identity, MachineSpec};
use sha2::{Digest, Sha256};
use std::{fs, path::Path};

/// Makes an image of `kernel` in `folder`.
pub fn make(folder: &Path, kernel: &[u8]) {
    fs::create_dir_all(folder).unwrap();
    let artifact = |file: &str, content: &[u8]| {
        let packed = zstd::encode_all(content, 1).unwrap();
        fs::write(folder.join(file), &packed).unwrap();
        let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
        Artifact {
            file: file.to_owned(),
            size: packed.len() as u64,
            sha256: hex(&packed),
            unpacked_size: content.len() as u64,
            unpacked_sha256: hex(content),
        }
    };
    let manifest = ImageManifest {
        version: MANIFEST_VERSION,
        release: "0".to_owned(),
        kernel_release: "0".to_owned(),
        kernel: artifact(image_files::KERNEL, kernel),
        initramfs: artifact(image_files::INITRAMFS, b"no initramfs"),
        command_line: "quiet panic=-1".to_owned(),
        inputs: vec![],
    };
    fs::write(folder.join(image_files::MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
}

/// A machine in `root/machines/NAME`, with the image and the cache of `root`.
pub fn spec(root: &Path, name: &str) -> MachineSpec {
    let directory = root.join("machines").join(name);
    fs::create_dir_all(&directory).unwrap();
    MachineSpec {
        name: name.to_owned(),
        machine_id: format!("id-of-{name}"),
        owner: "store".to_owned(),
        identity: Identity::default(),
        directory,
        cache: root.join("cache"),
        image: Some(root.join("image")),
        cpus: Some(1),
        memory_mib: Some(256),
        disk_gib: Some(1),
        options: [].into(),
    }
}
