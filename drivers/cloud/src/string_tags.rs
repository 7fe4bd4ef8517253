//! Whose a thing is, at providers whose tags are plain words: written and read in one place.

use crate::provider::Tags;

/// On everything of ours.
pub(crate) const TAG: &str = "machine";
/// In front of a machine's id.
pub(crate) const ID_TAG: &str = "machine-id:";
/// In front of a store's id.
pub(crate) const OWNER_TAG: &str = "machine-owner:";

/// The tags of a machine, and the `wanted` ones of its user behind them.
pub(crate) fn of(tags: &Tags, wanted: &[String]) -> Vec<String> {
    let ours = [TAG.to_owned(), format!("{ID_TAG}{}", tags.machine_id), format!("{OWNER_TAG}{}", tags.owner)];
    ours.into_iter().chain(wanted.iter().cloned()).collect()
}

/// What stands behind `prefix` in one of the tags.
pub(crate) fn value<'a>(tags: impl IntoIterator<Item = &'a String>, prefix: &str) -> Option<&'a str> {
    tags.into_iter().find_map(|tag| tag.strip_prefix(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let tags = Tags { name: "ci".into(), machine_id: "abc".into(), owner: "me".into() };
        let written = of(&tags, &["team".to_owned()]);
        assert_eq!(written, ["machine", "machine-id:abc", "machine-owner:me", "team"]);
        assert_eq!((value(&written, ID_TAG), value(&written, OWNER_TAG)), (Some("abc"), Some("me")));
        assert_eq!(value(&["team".to_owned()], ID_TAG), None);
    }
}
