//! The image: the newest Debian of the Debian project, or the one that was named.

use super::{ARCHITECTURE, Ec2};
use crate::{
    amazonec2::{is_missing, query::Query, wire},
    http::CloudError,
    settings::Settings,
};

/// The Debian project's account at AWS.
const DEBIAN: &str = "136693071363";
/// Releases by name and date; daily builds are called otherwise.
const DEBIAN_13: &str = "debian-13-amd64-????????-????";
/// Whose images log in as whom.
const USERS: [(&str, &str); 4] = [
    (DEBIAN, "admin"),
    ("099720109477", "ubuntu"),
    ("137112412989", "ec2-user"),
    ("309956199498", "ec2-user"),
];
/// docker-machine's.
const OTHER_USER: &str = "ubuntu";

/// What an instance starts from.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) root_device: String,
    /// GB that its root disk has at least.
    pub(super) size: u64,
    /// The account that SSH logs in as.
    pub(super) user: String,
}

impl Image {
    pub(super) async fn of(ec2: &Ec2, settings: &Settings<'_>) -> Result<Self, CloudError> {
        let query = Query::new("DescribeImages");
        let Some(id) = settings.text("amazonec2-ami") else {
            let query = query
                .with("Owner.1", DEBIAN)
                .filter("name", &[DEBIAN_13])
                .filter("architecture", &[ARCHITECTURE])
                .filter("state", &["available"]);
            let all: Vec<wire::Image> = ec2.list_of(query).await?;
            let newest = all.into_iter().max_by(|a, b| a.creation_date.cmp(&b.creation_date));
            return newest.map(Self::read).unwrap_or_else(|| {
                Err(CloudError::unavailable("There is no image of Debian 13; name one with --amazonec2-ami"))
            });
        };
        let found = match ec2.list_of::<wire::Image>(query.with("ImageId.1", id)).await {
            Err(error) if is_missing(&error) => Vec::new(),
            found => found?,
        };
        let image = found.into_iter().next().ok_or_else(|| {
            CloudError::unavailable(format!(
                "There is no image {id:?} in this region; images differ by region"
            ))
        })?;
        if image.architecture != ARCHITECTURE {
            let sentence = format!("Image {id} is for {}; the engine is for x86", image.architecture);
            return Err(CloudError::unavailable(sentence));
        }
        if image.image_state != "available" {
            return Err(CloudError::unavailable(format!("Image {id} is {}", image.image_state)));
        }
        Self::read(image)
    }

    fn read(image: wire::Image) -> Result<Self, CloudError> {
        let root_device = image
            .root_device_name
            .ok_or_else(|| CloudError::unavailable(format!("Image {} has no root disk", image.image_id)))?;
        let mut disks = image.block_device_mapping.items.into_iter();
        let root = disks.find(|disk| disk.device_name.as_ref() == Some(&root_device));
        let user = USERS.iter().find(|(owner, _)| *owner == image.image_owner_id);
        Ok(Self {
            size: root.and_then(|disk| disk.ebs?.volume_size).unwrap_or(0),
            user: user.map_or(OTHER_USER, |(_, user)| user).to_owned(),
            id: image.image_id,
            name: image.name,
            root_device,
        })
    }
}
