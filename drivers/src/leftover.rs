//! What stands in a provider's account in our name though no machine is left that it belongs to.

/// One such thing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Leftover {
    /// What it is, in the provider's word: `server`, `ssh key`.
    pub kind: String,
    /// The provider's id of it.
    pub id: String,
    /// The name it bears there.
    pub name: String,
}
