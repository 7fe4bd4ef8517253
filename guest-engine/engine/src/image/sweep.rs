//! Removing layers that nobody needs any more.
//!
//! Every layer that is added is first written down as an orphan and stops being one when an image claims
//! it, so a load that failed, or an engine that was killed in the middle, leaves nothing behind for ever.

use super::Images;
use crate::error::Result;
use std::collections::BTreeSet;

impl Images {
    /// Finds and removes what an engine that was killed has left: blobs and layers that nothing needs. Once,
    /// before requests are served; says what it was.
    pub async fn scrub(&self) -> Result<()> {
        let index = self.snapshot();
        let blobs = self.store.remove_unneeded(&index).await?;
        let here: BTreeSet<String> = self.layers.layer_ids().await?.into_iter().collect();
        let lost: BTreeSet<String> = here.iter().filter(|layer| !index.needs_layer(layer)).cloned().collect();
        if !blobs.is_empty() || !lost.is_empty() {
            tracing::info!(?blobs, layers = ?lost, "Leftovers of an interrupted engine are removed");
        }
        for (image, record) in &index.images {
            if let Some(layer) = record.layers.iter().find(|layer| !here.contains(*layer)) {
                tracing::warn!(image, layer, "An image lacks a layer; pull or load it again");
            }
        }
        if !lost.is_empty() {
            self.change(|index| {
                index.orphans.extend(lost);
                Ok(())
            })
            .await?;
        }
        self.sweep().await
    }

    /// Removes orphaned layers, unless layers are being added right now: then whoever adds them sweeps
    /// afterwards.
    pub async fn sweep(&self) -> Result<()> {
        let Ok(_alone) = self.adding.try_write() else { return Ok(()) };
        let snapshot = self.snapshot();
        if snapshot.orphans.is_empty() && snapshot.ghosts.is_empty() {
            return Ok(());
        }
        let used: BTreeSet<String> = self.users().into_iter().map(|user| user.image).collect();
        let doomed = self
            .change(|index| {
                let gone: Vec<String> =
                    index.ghosts.keys().filter(|image| !used.contains(*image)).cloned().collect();
                for image in gone {
                    index.orphans.extend(index.ghosts.remove(&image).unwrap_or_default());
                }
                let orphans = std::mem::take(&mut index.orphans);
                index.orphans = orphans.into_iter().filter(|layer| !index.needs_layer(layer)).collect();
                Ok(index.orphans.clone())
            })
            .await?;
        for layer in &doomed {
            self.layers.remove_layer(layer).await?;
        }
        if doomed.is_empty() {
            return Ok(());
        }
        self.change(|index| {
            index.orphans.retain(|layer| !doomed.contains(layer));
            index.sources.retain(|layer, _| !doomed.contains(layer));
            Ok(())
        })
        .await
    }
}
