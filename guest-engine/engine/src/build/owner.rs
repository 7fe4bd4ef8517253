//! Owners of files: numbers, or names by the image's own files.

use crate::{error::Result, ports::LayerStore};

/// Who is who in an image.
#[derive(Debug, Default)]
pub(crate) struct Names {
    passwd: String,
    group: String,
}

impl Names {
    /// Of a mounted root filesystem.
    pub(crate) async fn of(store: &dyn LayerStore, id: &str) -> Result<Self> {
        let text = |bytes: Option<Vec<u8>>| String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        let passwd = text(store.read_file(id, "/etc/passwd").await?);
        let group = text(store.read_file(id, "/etc/group").await?);
        Ok(Self { passwd, group })
    }
}

/// `USER[:GROUP]` where both are numbers. Without a group it is the user's number, as in dockerd.
pub(crate) fn numbers(spec: &str) -> Option<(u32, u32)> {
    let (user, group) = spec.split_once(':').unwrap_or((spec, spec));
    user.parse().ok().zip(group.parse().ok())
}

/// The same with names, as the classic builder has it: without a group, the one called like the user.
pub(crate) fn parse(spec: &str, names: &Names) -> Result<(u32, u32), String> {
    let (user, own_group) = spec.split_once(':').unwrap_or((spec, ""));
    let user_id = match user.parse() {
        Ok(number) => number,
        Err(_) => field(&names.passwd, user, 2).ok_or_else(|| {
            format!("unable to convert uid/gid chown string to host mapping: can't find uid for user {user}: no such user: {user}")
        })?,
    };
    let group_name = if own_group.is_empty() { user } else { own_group };
    let group_id = match group_name.parse() {
        Ok(number) => number,
        Err(_) => field(&names.group, group_name, 2).ok_or_else(|| {
            format!("unable to convert uid/gid chown string to host mapping: can't find gid for group {group_name}: no such group: {group_name}")
        })?,
    };
    Ok((user_id, group_id))
}

/// The same as BuildKit has it: without a group that is known, the user's own; and whom nobody knows is root.
pub(crate) fn as_buildkit(spec: &str, names: &Names) -> (u32, u32) {
    let (user, group) = spec.split_once(':').map_or((spec, None), |(user, group)| (user, Some(group)));
    let (user_id, own_group) = match user.parse() {
        Ok(number) => (number, number),
        Err(_) => {
            let known = |number| field(&names.passwd, user, number).unwrap_or(0);
            (known(2), known(3))
        }
    };
    let group_id = match group {
        None => own_group,
        Some("") => 0,
        Some(group) => group.parse().ok().or_else(|| field(&names.group, group, 2)).unwrap_or(own_group),
    };
    (user_id, group_id)
}

/// A number in the line that begins with the name.
fn field(file: &str, name: &str, number: usize) -> Option<u32> {
    let line = file.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_image() {
        let names = Names {
            passwd: "root:x:0:0::/:\nweb:x:33:40::/:\n".to_owned(),
            group: "root:x:0:\nweb:x:41:\nstaff:x:50:web\n".to_owned(),
        };
        for (spec, classic, buildkit) in [
            ("0:0", (0, 0), (0, 0)),
            ("web", (33, 41), (33, 40)),
            ("web:staff", (33, 50), (33, 50)),
            ("5:staff", (5, 50), (5, 50)),
            ("7", (7, 7), (7, 7)),
        ] {
            assert_eq!(parse(spec, &names).unwrap(), classic, "{spec}");
            assert_eq!(as_buildkit(spec, &names), buildkit, "{spec}");
        }
        assert!(parse("nobody", &names).unwrap_err().contains("no such user: nobody"));
        for (spec, expected) in [
            ("nobody:staff", (0, 50)),
            ("web:nobody", (33, 40)),
            ("web:", (33, 0)),
            (":7", (0, 7)),
            ("1:x", (1, 1)),
        ] {
            assert_eq!(as_buildkit(spec, &names), expected, "{spec}");
        }
        assert_eq!((numbers("7:8"), numbers("web:8")), (Some((7, 8)), None));
    }
}
