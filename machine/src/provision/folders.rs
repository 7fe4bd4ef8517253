//! The service that shows the user's folders on the host: apart from the engine's, whose containers use the folders
//! and outlive it. Its program is a link to the engine's, so that it is started anew only for other folders.

use super::{
    facts::{Init, Unfit},
    service_file::Service,
};
use guest_contract::{folders::SharedFolder, host};

/// Beside the engine's binary, a link to it.
const PROGRAM: &str = "folders";

/// Where its file goes.
pub(super) fn service_file(init: Option<&Init>) -> &'static str {
    match init {
        Some(Init::OpenRc) => "/etc/init.d/machine-engine-folders",
        _ => "/etc/systemd/system/machine-engine-folders.service",
    }
}

/// What the scripts that put it there and take it away work on.
pub(super) fn assignments(init: Option<&Init>) -> [(&'static str, &'static str); 5] {
    [
        ("FOLDERS_SERVICE", host::FOLDERS_SERVICE),
        ("FOLDERS_FILE", service_file(init)),
        ("FOLDERS_SOCKET", host::FOLDERS_SOCKET),
        ("PLACES", host::FOLDERS_PLACES),
        ("MADE", host::FOLDERS_MADE),
    ]
}

/// For a shell, one a line: no path that is shared has an end of line in it.
pub(super) fn lines(folders: &[SharedFolder]) -> String {
    folders.iter().map(|folder| format!("{}\n", folder.path)).collect()
}

/// The folders that the probe found in the way of nothing, on a kernel that can show them; else why not.
pub(super) fn check(folders: &[SharedFolder], fuse: bool, covered: &[usize]) -> Result<(), Unfit> {
    if let Some(folder) = covered.iter().find_map(|number| folders.get(*number)) {
        return Err(Unfit::Covered { path: folder.path.clone() });
    }
    if fuse || folders.is_empty() { Ok(()) } else { Err(Unfit::Fuse) }
}

/// The service's file; empty when there are no folders.
pub(super) fn service(library: &str, init: &Init, owner: Option<&str>, folders: &[SharedFolder]) -> String {
    if folders.is_empty() {
        return String::new();
    }
    let program = format!("{library}/{PROGRAM}");
    let service = Service {
        name: host::FOLDERS_SERVICE,
        description: "Folders of the user's computer for containers of machine",
        program: &program,
        arguments: arguments(owner, folders).into_iter().map(str::to_owned).collect(),
    };
    match init {
        Init::OpenRc => openrc(&service),
        _ => systemd(&service),
    }
}

fn arguments<'a>(owner: Option<&'a str>, folders: &'a [SharedFolder]) -> Vec<&'a str> {
    let mut arguments = vec!["folders", "--socket", host::FOLDERS_SOCKET];
    if let Some(owner) = owner {
        arguments.extend(["--owner", owner]);
    }
    arguments.extend(["--places", host::FOLDERS_PLACES, "--made", host::FOLDERS_MADE]);
    for folder in folders {
        arguments.extend([if folder.read_only { "--read-only" } else { "--folder" }, &folder.path]);
    }
    arguments
}

fn systemd(service: &Service<'_>) -> String {
    service.systemd(
        &format!(
            "After=local-fs.target\n\
             Before={engine}.service\n\
             StartLimitIntervalSec=0\n",
            engine = host::SERVICE,
        ),
        "ExecStartPre=-/bin/sh -c 'modprobe -q fuse'\n\
         Restart=always\n\
         TimeoutStartSec=30\n\
         OOMScoreAdjust=-900\n",
    )
}

/// The engine is started next, and with it containers for which the folders must be there: the socket tells.
fn openrc(service: &Service<'_>) -> String {
    service.openrc(&format!(
        "depend() {{\n    after localmount\n    before {engine}\n}}\n\
         start_pre() {{\n    modprobe -q fuse\n    rm -f {socket}\n    checkpath -d -m 0755 /run/{engine}\n}}\n\
         start_post() {{\n    tries=0\n    until [ -S {socket} ] || [ $tries -ge 150 ]; do\n        \
         tries=$((tries + 1))\n        sleep 0.2\n    done\n}}\n",
        engine = host::SERVICE,
        socket = host::FOLDERS_SOCKET,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &str, read_only: bool) -> SharedFolder {
        SharedFolder { path: path.to_owned(), read_only }
    }

    #[test]
    fn the_service_shows_what_is_shared_and_there_is_none_for_nothing() {
        assert_eq!(service("/opt/x", &Init::Systemd, None, &[]), "");
        let folders = [folder("/home/me/a b", false), folder("/srv/50%", true)];
        let unit = service("/opt/x", &Init::Systemd, Some("1000"), &folders);
        let line = unit.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        assert!(line.starts_with("ExecStart=/opt/x/folders \"folders\" "), "{line}");
        assert!(line.ends_with("\"--folder\" \"/home/me/a b\" \"--read-only\" \"/srv/50%%\""), "{line}");
        assert!(line.contains("\"--owner\" \"1000\""), "{line}");
        assert!(unit.contains("Before=machine-engine.service\n"));
        let script = service("/opt/x", &Init::OpenRc, None, &folders);
        assert!(script.contains("before machine-engine\n") && !script.contains("--owner"), "{script}");
    }

    #[test]
    fn nothing_of_the_hosts_is_covered() {
        let folders = [folder("/a", false), folder("/b", false)];
        assert_eq!(check(&folders, true, &[]), Ok(()));
        assert_eq!(check(&folders, false, &[]), Err(Unfit::Fuse));
        assert_eq!(check(&[], false, &[]), Ok(()));
        assert_eq!(check(&folders, true, &[1]), Err(Unfit::Covered { path: "/b".to_owned() }));
    }
}
