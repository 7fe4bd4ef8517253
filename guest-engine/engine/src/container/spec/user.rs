//! Who a process runs as: `USER` and `--user` looked up in the container's own `passwd` and `group`.

use crate::error::{EngineError, Result};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, sorted; the primary one is among them, or giving it up would take rights away
    /// that files deny to the group.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// The container's user database; missing files are empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UserFiles<'a> {
    pub(crate) passwd: &'a str,
    pub(crate) group: &'a str,
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Resolves `user[:group]`, names or numbers, and the groups of `--group-add`.
pub(crate) fn resolve(user: &str, add_groups: &[String], files: UserFiles<'_>) -> Result<ResolvedUser> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, group),
        None => (user, ""),
    };
    let user = if user.is_empty() { "0" } else { user };
    let account = accounts(files.passwd).find(|a| a.name == user || user.parse() == Ok(a.uid));
    let uid = match &account {
        Some(account) => account.uid,
        None => number(user).ok_or_else(|| {
            EngineError::invalid(format!("unable to find user {user}: no matching entries in passwd file"))
        })?,
    };
    let mut groups: Vec<u32> = Vec::new();
    let gid = if group.is_empty() {
        // Memberships count only when no group was given, as for a login.
        if let Some(account) = &account {
            groups.extend(
                members(files.group).filter(|(_, _, m)| m.split(',').any(|n| n == account.name)).map(|g| g.1),
            );
        }
        account.as_ref().map_or(0, |account| account.gid)
    } else {
        find_group(group, files.group)?
    };
    for group in add_groups {
        // dockerd has its own word for these.
        let missing = |error: EngineError| EngineError::invalid(error.to_string().replacen('u', "U", 1));
        groups.push(find_group(group, files.group).map_err(missing)?);
    }
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    let home = account.map(|account| account.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
    Ok(ResolvedUser { uid, gid, groups, home })
}

fn find_group(group: &str, file: &str) -> Result<u32> {
    members(file)
        .find(|(name, gid, _)| *name == group || group.parse() == Ok(*gid))
        .map(|(_, gid, _)| gid)
        .or_else(|| number(group))
        .ok_or_else(|| {
            EngineError::invalid(format!("unable to find group {group}: no matching entries in group file"))
        })
}

/// A numeric id that the kernel takes; the highest one means "unchanged" there.
fn number(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|id| i32::try_from(*id).is_ok())
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Account { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    })
}

/// Name, id and members of each group.
fn members(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _password, gid) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: UserFiles<'static> = UserFiles {
        passwd: "root:x:0:0:root:/root:/bin/sh\n#comment\napp:x:1000:1001:App:/home/app:/bin/sh\nbroken\n",
        group: "root:x:0:\nwheel:x:10:root,app\napp:x:1001:\naudio:x:29:app\n",
    };

    #[test]
    fn names_and_numbers() {
        for (user, uid, gid, groups, home) in [
            ("", 0, 0, &[0, 10][..], "/root"),
            ("app", 1000, 1001, &[10, 29, 1001], "/home/app"),
            ("1000", 1000, 1001, &[10, 29, 1001], "/home/app"),
            ("app:wheel", 1000, 10, &[10], "/home/app"),
            ("app:77", 1000, 77, &[77], "/home/app"),
            ("4711", 4711, 0, &[0], "/"),
            ("4711:4712", 4711, 4712, &[4712], "/"),
        ] {
            let expected = ResolvedUser { uid, gid, groups: groups.to_vec(), home: home.into() };
            assert_eq!(resolve(user, &[], FILES).unwrap(), expected, "{user}");
        }
        assert_eq!(
            resolve("", &["audio".into(), "5".into()], UserFiles { group: FILES.group, passwd: "" })
                .unwrap()
                .groups,
            [0, 5, 29]
        );
    }

    #[test]
    fn unknown_ones_are_named() {
        assert_eq!(
            resolve("nobody", &[], FILES).unwrap_err().to_string(),
            "unable to find user nobody: no matching entries in passwd file"
        );
        assert_eq!(
            resolve("app:nogroup", &[], FILES).unwrap_err().to_string(),
            "unable to find group nogroup: no matching entries in group file"
        );
        assert!(resolve("4294967295", &[], FILES).is_err());
    }
}
