//! The store's own id. Whatever is made in a cloud for a machine of this store bears it, so that
//! `machine gc` takes nobody else's machines for forgotten ones.

use super::{FileError, Store, StoreError, files, private_folder};
use crate::machine::MachineId;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
};

impl Store {
    /// The id; drawn at the first call.
    pub fn id(&self) -> Result<String, StoreError> {
        self.check_owner()?;
        private_folder(self.root())?;
        let path = self.root().join(files::STORE_ID);
        loop {
            match fs::read_to_string(&path) {
                Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
                Ok(_) => return Err(FileError::new("use", &path, io::ErrorKind::InvalidData.into()).into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(FileError::new("read", &path, error).into()),
            }
            let id = MachineId::draw().map_err(FileError::on("make", &path))?;
            // Written whole before it has its name; of two commands that draw at once, the first wins.
            let partial = self.root().join(format!("{}{}", files::PARTIAL_PREFIX, id.as_str()));
            let write = || -> io::Result<()> {
                let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&partial)?;
                file.write_all(id.as_str().as_bytes())?;
                file.sync_all()?;
                match fs::hard_link(&partial, &path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                    _ => Ok(()),
                }
            };
            let written = write();
            _ = fs::remove_file(&partial);
            written.map_err(FileError::on("write", &path))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_drawn_once() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path().join("store"));
        let id = store.id().unwrap();
        assert_eq!((id.len(), store.id().unwrap()), (32, id));
        assert_eq!(fs::read_dir(store.root()).unwrap().count(), 1, "no partial file stays");
    }
}
