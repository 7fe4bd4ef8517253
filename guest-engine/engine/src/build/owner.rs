//! `--chown`: numbers, or names by the image's own files.

/// `USER[:GROUP]` as numbers. The files are asked for names only; without a group it is the user's number,
/// as in dockerd.
pub(crate) fn parse(spec: &str, passwd: &str, group: &str) -> Result<(u32, u32), String> {
    let (user, own_group) = spec.split_once(':').unwrap_or((spec, ""));
    let user_id = match user.parse() {
        Ok(number) => number,
        Err(_) => lookup(passwd, user).ok_or_else(|| {
            format!("unable to convert uid/gid chown string to host mapping: can't find uid for user {user}: no such user: {user}")
        })?,
    };
    let group_name = if own_group.is_empty() { user } else { own_group };
    let group_id = match group_name.parse() {
        Ok(number) => number,
        Err(_) => lookup(group, group_name).ok_or_else(|| {
            format!("unable to convert uid/gid chown string to host mapping: can't find gid for group {group_name}: no such group: {group_name}")
        })?,
    };
    Ok((user_id, group_id))
}

/// The third field of the line that begins with the name.
fn lookup(file: &str, name: &str) -> Option<u32> {
    let line = file.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_image() {
        let (passwd, group) = ("root:x:0:0::/:\nweb:x:33:40::/:\n", "root:x:0:\nweb:x:41:\nstaff:x:50:web\n");
        for (spec, expected) in
            [("0:0", (0, 0)), ("web", (33, 41)), ("web:staff", (33, 50)), ("5:staff", (5, 50)), ("7", (7, 7))]
        {
            assert_eq!(parse(spec, passwd, group).unwrap(), expected, "{spec}");
        }
        assert!(parse("nobody", passwd, group).unwrap_err().contains("no such user: nobody"));
    }
}
