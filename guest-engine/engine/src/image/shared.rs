//! How much of each image others have as well.

use super::Images;
use std::collections::{BTreeSet, HashMap};

impl Images {
    /// Bytes of the layers that other images have as well, image by image. Images that only led to others
    /// count, as for dockerd.
    pub fn shared_sizes<'a>(&self, ids: impl Iterator<Item = &'a str>) -> HashMap<String, u64> {
        let index = self.snapshot();
        let mut users: HashMap<&String, usize> = HashMap::new();
        for record in index.images.values() {
            // One that an image has twice is still one.
            for layer in record.layers.iter().collect::<BTreeSet<_>>() {
                *users.entry(layer).or_default() += 1;
            }
        }
        let shared = |layer: &String| users.get(layer).is_some_and(|users| *users > 1);
        ids.filter_map(|id| Some((id, index.images.get(id)?)))
            .map(|(id, record)| {
                let sizes: BTreeSet<_> = record.layers.iter().zip(&record.layer_sizes).collect();
                (id.to_owned(), sizes.iter().filter(|(layer, _)| shared(layer)).map(|(_, size)| **size).sum())
            })
            .collect()
    }
}
