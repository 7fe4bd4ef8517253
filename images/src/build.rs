//! `images build`: from signed packages and our engine to an image folder.

use crate::archive::{Archive, Source};
use crate::busybox::Busybox;
use crate::cache::Cache;
use crate::certificates;
use crate::deb::PackageFiles;
use crate::digest;
use crate::elf::Elf;
use crate::guest_tree::{self, Parts};
use crate::kernel;
use crate::manifest;
use crate::modules::ModuleIndex;
use crate::report;
use anyhow::{Context, Result, bail};
use guest_contract::image::{Artifact, ImageManifest, Input, MANIFEST_VERSION};
use guest_contract::paths::image_files;
use guest_contract::version::RELEASE;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The kernel's meta package and what the package behind it is called.
const KERNEL_META: &str = "linux-image-cloud-amd64";
const KERNEL_PREFIX: &str = "linux-image-";

/// Small enough for the image, quick enough for a build: higher levels take three times as long for
/// five percent.
const COMPRESSION: i32 = 12;

/// What every guest boots with; a driver adds its console and clock.
const COMMAND_LINE: &str = "quiet panic=-1 reboot=t cryptomgr.notests init_on_alloc=0 \
                            initcall_blacklist=jent_mod_init,crypto_kdf108_init,init_encrypted \
                            apparmor=0 8250.nr_uarts=1";

/// Builds the image, or finds that it is there already.
pub(crate) async fn run(engine: &Path, output: &Path, source: Source, cache: Cache) -> Result<ImageManifest> {
    let engine_bytes =
        fs::read(engine).with_context(|| format!("Could not read the engine at {}", engine.display()))?;
    if !Elf::parse(&engine_bytes).is_some_and(|elf| elf.is_static()) {
        bail!("The engine at {} is not a static x86-64 program", engine.display());
    }
    let archive = Archive::open(source, cache).await?;
    // These decide all other inputs: the index names the digest of every package.
    let deciding = [
        archive.release_input(),
        built_here("machine-engine", digest::of_bytes(&engine_bytes)),
        // The recipe is this program.
        built_here("images", digest::of_file(Path::new("/proc/self/exe"))?.0),
    ];
    if let Some(existing) = manifest::is_current(output, &deciding) {
        report::step(&format!("{} is up to date", output.display()));
        return Ok(existing);
    }

    let fetched = fetch(&archive).await?;
    let parent = parent_folder(output)?;
    let staging = tempfile::Builder::new().prefix(".guest-image-").tempdir_in(&parent)?;
    let mut manifest = assemble(&fetched, engine_bytes, output, staging.path()).await?;
    let [index, engine_input, recipe] = deciding;
    manifest.inputs = [vec![index], fetched.inputs, vec![engine_input, recipe]].concat();
    manifest::write(staging.path(), &manifest)?;
    fs::set_permissions(staging.path(), fs::Permissions::from_mode(0o755))?;
    manifest::replace(staging.path(), output)
        .with_context(|| format!("Could not put the image in place at {}", output.display()))?;
    Ok(manifest)
}

/// The sizes of an image, for people.
pub(crate) fn summary(output: &Path, manifest: &ImageManifest) -> String {
    let size = |artifact: &Artifact| {
        let (packed, unpacked) = (artifact.size, artifact.unpacked_size);
        format!("{} ({} unpacked)", report::megabytes(packed), report::megabytes(unpacked))
    };
    format!(
        "image      {}\nkernel     {}, {}\ninitramfs  {}\ntotal      {}\n",
        output.display(),
        manifest.kernel_release,
        size(&manifest.kernel),
        size(&manifest.initramfs),
        report::megabytes(manifest.kernel.size + manifest.initramfs.size),
    )
}

/// The packages' files and what they are.
struct Fetched {
    kernel: PathBuf,
    busybox: PathBuf,
    certificates: PathBuf,
    inputs: Vec<Input>,
}

async fn fetch(archive: &Archive) -> Result<Fetched> {
    let packages = archive.packages().await?;
    let meta = packages.find(KERNEL_META)?;
    let kernel = packages.find_behind(&meta, KERNEL_PREFIX)?;
    let busybox = packages.find("busybox-static")?;
    let certificates = packages.find("ca-certificates")?;
    Ok(Fetched {
        kernel: archive.package_file(&kernel).await?,
        busybox: archive.package_file(&busybox).await?,
        certificates: archive.package_file(&certificates).await?,
        inputs: [&kernel, &busybox, &certificates].map(|p| archive.package_input(p)).to_vec(),
    })
}

async fn assemble(
    fetched: &Fetched,
    engine: Vec<u8>,
    output: &Path,
    staging: &Path,
) -> Result<ImageManifest> {
    report::step("Unpacking the kernel package");
    let files = PackageFiles::read(&fetched.kernel, |path| {
        path.starts_with("boot/vmlinuz-") || path.starts_with("lib/modules/")
    })?;
    let (image, kernel_release) = files
        .iter()
        .find_map(|(path, bytes)| Some((bytes, path.strip_prefix("boot/vmlinuz-")?)))
        .context("The kernel package has no kernel")?;
    let vmlinux = kernel::unpack(image)?;
    let builtin = files.get(&format!("lib/modules/{kernel_release}/modules.builtin"))?;
    let modules = ModuleIndex::new(files.iter(), &String::from_utf8_lossy(builtin));
    let busybox = Busybox::read(&fetched.busybox).await?;
    let certificates = certificates::bundle(&fetched.certificates)?;
    let tree = guest_tree::lay_out(Parts { engine, busybox: &busybox, modules: &modules, certificates })?;
    let initramfs = tree.write(Vec::new()).context("Could not write the initramfs")?;

    Ok(ImageManifest {
        version: MANIFEST_VERSION,
        release: RELEASE.to_owned(),
        kernel_release: kernel_release.to_owned(),
        kernel: store(staging, output, image_files::KERNEL, &vmlinux)?,
        initramfs: store(staging, output, image_files::INITRAMFS, &initramfs)?,
        command_line: COMMAND_LINE.to_owned(),
        inputs: Vec::new(),
    })
}

/// Compresses `bytes` into the staging folder, or takes over the same artifact of the last build:
/// a new engine does not change the kernel.
fn store(staging: &Path, last: &Path, file: &str, bytes: &[u8]) -> Result<Artifact> {
    let unpacked_sha256 = digest::of_bytes(bytes);
    let path = staging.join(file);
    if !take_over(last, file, &unpacked_sha256, &path) {
        report::step(&format!("Compressing {file} ({})", report::megabytes(bytes.len() as u64)));
        let packed = compress(bytes).with_context(|| format!("Could not compress {file}"))?;
        fs::write(&path, packed).with_context(|| format!("Could not write {}", path.display()))?;
    }
    let (sha256, size) = digest::of_file(&path)?;
    let unpacked_size = bytes.len() as u64;
    Ok(Artifact { file: file.to_owned(), size, sha256, unpacked_size, unpacked_sha256 })
}

fn take_over(last: &Path, file: &str, unpacked_sha256: &str, path: &Path) -> bool {
    manifest::read(last).is_ok_and(|old| {
        let same = |artifact: &Artifact| artifact.file == file && artifact.unpacked_sha256 == unpacked_sha256;
        [&old.kernel, &old.initramfs].into_iter().any(same)
            && manifest::verify(last, &old).is_ok()
            && fs::copy(last.join(file), path).is_ok()
    })
}

fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), COMPRESSION)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
    std::io::Write::write_all(&mut encoder, bytes)?;
    encoder.finish()
}

fn built_here(name: &str, sha256: String) -> Input {
    Input { name: name.to_owned(), version: RELEASE.to_owned(), sha256, origin: "built here".to_owned() }
}

fn parent_folder(output: &Path) -> Result<PathBuf> {
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        Some(_) => PathBuf::from("."),
        None => bail!("{} cannot be replaced by an image", output.display()),
    };
    if output.exists() && !output.join(image_files::MANIFEST).exists() {
        let mut entries =
            fs::read_dir(output).with_context(|| format!("Could not look into {}", output.display()))?;
        if entries.next().is_some() {
            bail!("{} holds something else than a guest image and is left alone", output.display());
        }
    }
    fs::create_dir_all(&parent).with_context(|| format!("Could not create {}", parent.display()))?;
    Ok(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_reversible_and_repeatable() {
        let bytes = b"kernel ".repeat(10_000);
        let packed = compress(&bytes).unwrap();
        assert_eq!(packed, compress(&bytes).unwrap());
        assert_eq!(zstd::decode_all(packed.as_slice()).unwrap(), bytes);
    }

    #[test]
    fn a_folder_with_something_else_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(parent_folder(folder.path()).is_ok());
        fs::write(folder.path().join("thesis.tex"), "precious").unwrap();
        assert!(parent_folder(folder.path()).unwrap_err().to_string().contains("left alone"));
        assert!(parent_folder(Path::new("/")).is_err());
    }
}
