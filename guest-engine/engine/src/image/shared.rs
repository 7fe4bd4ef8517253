//! How much of each image others have as well.

use super::Images;
use std::collections::HashMap;

impl Images {
    /// Bytes of the layers that more than one of these images has, image by image.
    pub fn shared_sizes<'a>(&self, ids: impl Iterator<Item = &'a str>) -> HashMap<String, u64> {
        let index = self.snapshot();
        let records: Vec<_> = ids.filter_map(|id| Some((id, index.images.get(id)?))).collect();
        let mut users: HashMap<&String, usize> = HashMap::new();
        for layer in records.iter().flat_map(|(_, record)| &record.layers) {
            *users.entry(layer).or_default() += 1;
        }
        let shared = |layer: &String| users.get(layer).is_some_and(|users| *users > 1);
        records
            .iter()
            .map(|(id, record)| {
                let sizes = record.layers.iter().zip(&record.layer_sizes);
                ((*id).to_owned(), sizes.filter(|(layer, _)| shared(layer)).map(|(_, size)| *size).sum())
            })
            .collect()
    }
}
