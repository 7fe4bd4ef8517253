//! The exit record: a file that appears whole, once, and stays until the container is deleted.

use super::{config::EXIT_FILE, protocol::ExitRecord};
use std::{fs, io, path::Path};

/// Writes the record into the shim's folder.
pub(super) fn write(folder: &Path, record: &ExitRecord) -> io::Result<()> {
    let temporary = folder.join("exit.json.new");
    fs::write(&temporary, serde_json::to_vec(record)?)?;
    // Not synced: the folder does not outlive a boot.
    fs::rename(&temporary, folder.join(EXIT_FILE))
}

/// Reads it back; `None` when the process has not ended or its shim was killed.
pub(crate) fn read(folder: &Path) -> io::Result<Option<ExitRecord>> {
    match fs::read(folder.join(EXIT_FILE)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_its_absence_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        let record = ExitRecord { code: 137, oom_killed: true, finished_unix_nanos: 1 };
        write(folder.path(), &record).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some(record));
    }
}
