//! The image's configuration under the user's. Pure.

use crate::error::{EngineError, Result};
use bollard_stubs::models::{ContainerConfig, ImageConfig};

/// Fills in what the user left open from the image, as dockerd does.
pub(crate) fn merge(user: &mut ContainerConfig, image: &ImageConfig) -> Result<()> {
    if is_blank(user.user.as_deref()) {
        user.user.clone_from(&image.user);
    }
    union(&mut user.exposed_ports, image.exposed_ports.as_deref());
    union(&mut user.volumes, image.volumes.as_deref());

    let env = user.env.get_or_insert_default();
    let missing: Vec<String> = image
        .env
        .iter()
        .flatten()
        .filter(|entry| !env.iter().any(|own| key(own) == key(entry)))
        .cloned()
        .collect();
    env.extend(missing);

    let labels = user.labels.get_or_insert_default();
    for (name, value) in image.labels.iter().flatten() {
        labels.entry(name.clone()).or_insert_with(|| value.clone());
    }

    // The image's command belongs to the image's entrypoint: another entrypoint drops it. `[""]` is how
    // clients say "no entrypoint at all".
    if user.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if user.cmd.as_ref().is_none_or(Vec::is_empty) {
            user.cmd.clone_from(&image.cmd);
            user.args_escaped = image.args_escaped;
        }
        if user.entrypoint.is_none() {
            user.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if user.entrypoint.as_deref().is_some_and(|e| e.first().is_some_and(String::is_empty)) {
        user.entrypoint = None;
    }

    super::health::merge(&mut user.healthcheck, image.healthcheck.as_ref());
    if is_blank(user.working_dir.as_deref()) {
        user.working_dir.clone_from(&image.working_dir);
    }
    // `/a//b/` and `/a/b` are the same folder.
    if let Some(clean) = user.working_dir.as_deref().and_then(super::mounts::clean) {
        user.working_dir = Some(clean);
    }
    if is_blank(user.stop_signal.as_deref()) {
        user.stop_signal.clone_from(&image.stop_signal);
    }
    if user.shell.as_ref().is_none_or(Vec::is_empty) {
        user.shell.clone_from(&image.shell);
    }

    let empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    if empty(&user.entrypoint) && empty(&user.cmd) {
        return Err(EngineError::invalid("no command specified"));
    }
    Ok(())
}

fn is_blank(text: Option<&str>) -> bool {
    text.is_none_or(str::is_empty)
}

fn key(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(key, _)| key)
}

fn union(own: &mut Option<Vec<String>>, more: Option<&[String]>) {
    let own = own.get_or_insert_default();
    own.extend(more.unwrap_or_default().iter().filter(|m| !own.contains(m)).cloned().collect::<Vec<_>>());
    own.sort();
    own.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(ToString::to_string).collect())
    }

    fn image() -> ImageConfig {
        ImageConfig {
            env: words(&["PATH=/bin", "A=image"]),
            cmd: words(&["serve"]),
            entrypoint: words(&["/app"]),
            working_dir: Some("/srv".into()),
            ..ImageConfig::default()
        }
    }

    fn merged(mut user: ContainerConfig) -> ContainerConfig {
        merge(&mut user, &image()).unwrap();
        user
    }

    #[test]
    fn entrypoint_and_command_follow_dockers_rules() {
        for (entrypoint, cmd, expected_entrypoint, expected_cmd) in [
            (None, None, words(&["/app"]), words(&["serve"])),
            (None, words(&["x"]), words(&["/app"]), words(&["x"])),
            (words(&["/sh"]), None, words(&["/sh"]), None),
            (words(&["/sh"]), words(&["-c"]), words(&["/sh"]), words(&["-c"])),
            (words(&[""]), words(&["ls"]), None, words(&["ls"])),
        ] {
            let user = merged(ContainerConfig { entrypoint, cmd, ..ContainerConfig::default() });
            assert_eq!((user.entrypoint, user.cmd), (expected_entrypoint, expected_cmd));
        }
    }

    #[test]
    fn the_users_values_win() {
        let user = merged(ContainerConfig { env: words(&["A=user"]), ..ContainerConfig::default() });
        assert_eq!(user.env, words(&["A=user", "PATH=/bin"]));
        assert_eq!(user.working_dir.as_deref(), Some("/srv"));
    }

    #[test]
    fn something_must_be_run() {
        let error = merge(&mut ContainerConfig::default(), &ImageConfig::default()).unwrap_err();
        assert_eq!(error.to_string(), "no command specified");
    }
}
