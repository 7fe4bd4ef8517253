//! Giving an image another name.

use super::{Images, Reference, lookup::resolve, store::Index};
use crate::error::{EngineError, Result};
use std::time::{SystemTime, UNIX_EPOCH};

impl Images {
    /// Makes `repository:tag` mean the image that `source` means now. An image that loses its last name
    /// this way stays, without a name.
    pub async fn tag(&self, source: &str, repository: &str, tag: &str) -> Result<()> {
        let target: Reference = repository.parse::<Reference>()?;
        if target.digest().is_some() {
            return Err(EngineError::invalid("cannot import digest reference"));
        }
        target.check_name()?;
        let target = if tag.is_empty() { target.or_latest() } else { target.with_tag(tag)? };
        let name = target.familiar();
        let id = self
            .change(|index| {
                let id = resolve(index, source)?;
                give_name(index, target, &id);
                Ok(id)
            })
            .await?;
        self.announce("tag", &id, &name).await;
        Ok(())
    }
}

/// Points `name` at `id` and says which image it named before, if another.
pub(super) fn give_name(index: &mut Index, name: Reference, id: &str) -> Option<String> {
    refresh(index, id);
    put_name(index, name, id)
}

/// The image was given a name just now.
pub(super) fn refresh(index: &mut Index, id: &str) {
    if let Some(record) = index.images.get_mut(id) {
        record.tagged_at = Some(now());
    }
}

/// The same where nobody tags: what comes from elsewhere brings its names along.
pub(super) fn put_name(index: &mut Index, name: Reference, id: &str) -> Option<String> {
    index.names.insert(name, id.to_owned()).filter(|before| before != id)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
