//! Builds that are the contexts of others (`target:` of `docker buildx bake`). Clients pass them on as LLB that they
//! do not look into; ours holds nothing but the name of a finished build.

use super::{BuildKit, failure};
use bollard_buildkit_proto::pb::{Definition, Input, Op, OpMetadata, SourceOp, op};
use engine::{EngineError, build::buildkit::Solved};
use prost::Message;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use tonic::Status;

const SCHEME: &str = "machine-build://";

/// A finished build as clients hand it back.
pub(super) fn definition(name: &str) -> Definition {
    let source = SourceOp { identifier: format!("{SCHEME}{name}"), ..SourceOp::default() };
    let source = Op { op: Some(op::Op::Source(source)), ..Op::default() }.encode_to_vec();
    // The last one says which of the others is meant.
    let input = Input { digest: digest(&source), index: 0 };
    let last = Op { inputs: vec![input], ..Op::default() }.encode_to_vec();
    let def = vec![source, last];
    // Clients want some for each.
    let metadata = def.iter().map(|op| (digest(op), OpMetadata::default())).collect();
    Definition { def, metadata, ..Definition::default() }
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold(String::from("sha256:"), |text, byte| format!("{text}{byte:02x}"))
}

/// The builds that definitions mean.
pub(super) async fn inputs(
    shared: &BuildKit,
    definitions: &HashMap<String, Definition>,
) -> Result<BTreeMap<String, Arc<Solved>>, Status> {
    let mut found = BTreeMap::new();
    for (key, definition) in definitions {
        let Some(name) = name_of(definition) else {
            let message = format!(
                "the build context {key} is LLB, which this engine does not run: it builds Dockerfiles"
            );
            return Err(failure::plain(&EngineError::not_implemented(message)));
        };
        let job = shared.builds.get(name.rsplit_once("::").map_or(name.as_str(), |(job, _)| job)).await?;
        let solved = job.result(&name).ok_or_else(|| Status::not_found(format!("no such result {name}")))?;
        found.insert(key.clone(), solved);
    }
    Ok(found)
}

fn name_of(definition: &Definition) -> Option<String> {
    definition.def.iter().find_map(|bytes| match Op::decode(bytes.as_slice()).ok()?.op? {
        op::Op::Source(source) => source.identifier.strip_prefix(SCHEME).map(str::to_owned),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_found_in_what_comes_back() {
        let there = definition("job::0");
        assert_eq!(name_of(&there).as_deref(), Some("job::0"));
        assert_eq!(name_of(&Definition { def: there.def[1..].to_vec(), ..Definition::default() }), None);
    }
}
