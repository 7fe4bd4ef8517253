//! Telling that an image was made of a container.

use super::Containers;

impl Containers {
    /// Announces it; nothing happens when the container has gone meanwhile.
    pub fn committed(&self, key: &str, comment: &str, image: &str, name: &str) {
        if let Ok(handle) = self.shared.index.find(key) {
            let more = [
                ("comment", comment.to_owned()),
                ("imageID", image.to_owned()),
                ("imageRef", name.to_owned()),
            ];
            self.shared.announce(&handle.record(), "commit", &more);
        }
    }
}
