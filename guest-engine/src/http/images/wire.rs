//! Images as the API shows them. Lists are `[]`, never absent: clients in dynamic languages index them.

use crate::http::version::ApiVersion;
use engine::image::{HistoryItem, Image, ImageSummary, Reference, Removed};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What Go prints for a moment that is not set.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

pub(super) fn summary(image: &ImageSummary, api: ApiVersion) -> Value {
    let mut object = json!({
        "Id": image.id,
        "ParentId": image.parent.as_deref().unwrap_or_default(),
        "RepoTags": image.names,
        "RepoDigests": image.digests,
        "Created": image.created,
        "Size": image.size,
        "SharedSize": -1,
        "Labels": if image.labels.is_empty() { Value::Null } else { json!(image.labels) },
        // dockerd counts them only for `docker system df`.
        "Containers": -1,
    });
    virtual_size(&mut object, api);
    object
}

/// A second name of the size, which API 1.44 took away.
fn virtual_size(object: &mut Value, api: ApiVersion) {
    if !api.at_least(44) {
        object["VirtualSize"] = object["Size"].clone();
    }
}

pub(super) fn inspect(image: &Image, api: ApiVersion) -> Value {
    let config = &image.config;
    let tagged = image.tagged_at.and_then(|at| Timestamp::from_second(at).ok());
    let mut object = json!({
        "Id": image.id,
        "RepoTags": image.names.iter().map(Reference::familiar).collect::<Vec<_>>(),
        "RepoDigests": image.digests.iter().map(Reference::familiar).collect::<Vec<_>>(),
        "Parent": image.parent.as_deref().unwrap_or_default(),
        "Comment": comment(image),
        "Created": config.created.as_deref().unwrap_or(NO_TIME),
        "DockerVersion": "",
        "Author": config.author.as_deref().unwrap_or_default(),
        "Config": run_config(image),
        "Architecture": config.architecture,
        "Os": if config.os.is_empty() { "linux" } else { &config.os },
        "Size": image.size,
        "GraphDriver": { "Name": "overlay2", "Data": null },
        "RootFS": { "Type": "layers", "Layers": image.layers },
        "Metadata": { "LastTagTime": tagged.map_or_else(|| NO_TIME.to_owned(), |at| at.to_string()) },
    });
    if let Some(variant) = &config.variant {
        object["Variant"] = json!(variant);
    }
    if let Some(version) = &config.os_version {
        object["OsVersion"] = json!(version);
    }
    virtual_size(&mut object, api);
    object
}

/// The image's own, or what its last step says.
fn comment(image: &Image) -> &str {
    let own = image.config.comment.as_deref().filter(|comment| !comment.is_empty());
    let last = || image.config.history.as_ref()?.last()?.comment.as_deref();
    own.or_else(last).unwrap_or_default()
}

/// The image's own configuration with the fields that dockerd always shows.
fn run_config(image: &Image) -> Value {
    let mut shown = json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false,
        "AttachStderr": false, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": null,
        "Cmd": null, "Image": "", "Volumes": null, "WorkingDir": "", "Entrypoint": null, "OnBuild": null,
        "Labels": null,
    });
    let own = image.config.config.as_ref().and_then(|config| serde_json::to_value(config).ok());
    if let (Some(shown), Some(Value::Object(own))) = (shown.as_object_mut(), own) {
        shown.extend(own);
    }
    shown
}

pub(super) fn history(item: &HistoryItem) -> Value {
    let created = item.created.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    json!({
        "Id": item.id,
        "Created": created.map_or(0, Timestamp::as_second),
        "CreatedBy": item.created_by,
        "Tags": if item.tags.is_empty() { Value::Null } else { json!(item.tags) },
        "Size": item.size,
        "Comment": item.comment,
    })
}

pub(super) fn removed(step: &Removed) -> Value {
    match step {
        Removed::Untagged(name) => json!({ "Untagged": name }),
        Removed::Deleted(id) => json!({ "Deleted": id }),
    }
}

/// For `/system/df`.
pub(in crate::http) fn usage(image: &ImageSummary, shared: u64, api: ApiVersion) -> Value {
    let mut object = summary(image, api);
    object["Containers"] = json!(image.containers);
    object["SharedSize"] = json!(shared);
    object
}
