//! Where the guest image is.

use crate::{config::Environment, env_vars};
use guest_contract::paths::image_files;
use std::path::{Path, PathBuf};

/// Folder beside the executable, as the build leaves it.
const BESIDE: &str = "guest-image";
/// Folder next to the executable's, as an installation has it.
const INSTALLED: &str = "../share/machine/guest-image";

/// There is no guest image to boot.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The folder that was named has none.
    #[error("There is no guest image in {}: {} is missing", .folder.display(), image_files::MANIFEST)]
    NotThere { folder: PathBuf },
    /// None was named, and none is where it is by default.
    #[error("There is no guest image; looked in {}", list(.folders))]
    Nowhere { folders: Vec<PathBuf> },
}

/// Finds the guest image's folder: `flag`, else the environment, else beside the executable, else where
/// an installation has it. The path is absolute; what is in the folder is the driver's to judge.
pub fn find(flag: Option<&Path>, environment: &Environment) -> Result<PathBuf, ImageError> {
    let named = flag.or_else(|| environment.get(env_vars::GUEST_IMAGE).map(Path::new));
    if let Some(named) = named {
        let folder = environment.working_folder.join(named);
        return if has_image(&folder) { Ok(folder) } else { Err(ImageError::NotThere { folder }) };
    }
    let beside = environment.executable.parent().unwrap_or(Path::new("/"));
    let folders = vec![beside.join(BESIDE), beside.join(INSTALLED)];
    match folders.iter().find(|folder| has_image(folder)) {
        Some(folder) => Ok(folder.clone()),
        None => Err(ImageError::Nowhere { folders }),
    }
}

fn has_image(folder: &Path) -> bool {
    folder.join(image_files::MANIFEST).is_file()
}

fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn image_in(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(image_files::MANIFEST), "{}").unwrap();
    }

    #[test]
    fn named_then_beside_then_installed() {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let mut environment = Environment { executable: bin.join("machine"), ..Environment::default() };
        assert!(matches!(find(None, &environment), Err(ImageError::Nowhere { .. })));
        image_in(&root.path().join("share/machine/guest-image"));
        assert_eq!(find(None, &environment).unwrap(), bin.join(INSTALLED));
        image_in(&bin.join(BESIDE));
        assert_eq!(find(None, &environment).unwrap(), bin.join(BESIDE));
        let other = root.path().join("other");
        environment.variables.insert(env_vars::GUEST_IMAGE.to_owned(), other.display().to_string());
        assert!(matches!(find(None, &environment), Err(ImageError::NotThere { .. })), "no silent fallback");
        image_in(&other);
        assert_eq!(find(None, &environment).unwrap(), other);
        assert!(find(Some(Path::new("/nowhere")), &environment).is_err());
    }
}
