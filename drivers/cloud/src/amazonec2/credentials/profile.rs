//! Profiles: `~/.aws/credentials` and `~/.aws/config`, which the AWS CLI writes.

use super::{Credentials, Surroundings, metadata};
use machine_drivers::DriverError;
use std::{collections::BTreeMap, fs, path::PathBuf};
use tokio::process::Command;

/// By profile, what both files say of it.
type Profiles = BTreeMap<String, BTreeMap<String, String>>;

/// Its keys; `None` when it has none.
pub(super) async fn keys(
    name: &str,
    surroundings: &Surroundings,
) -> Result<Option<Credentials>, DriverError> {
    let profiles = read(surroundings);
    let Some(profile) = profiles.get(name) else {
        let names: Vec<&str> = profiles.keys().map(String::as_str).collect();
        return Err(DriverError::InvalidSpec(format!(
            "There is no AWS profile {name:?}; there are {}",
            names.join(", ")
        )));
    };
    if let (Some(access), Some(secret)) =
        (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key"))
    {
        return Ok(Some(Credentials {
            access_key: access.clone(),
            secret_key: secret.clone(),
            session_token: profile.get("aws_session_token").cloned(),
            expires: None,
        }));
    }
    if let Some(command) = profile.get("credential_process") {
        return process(name, command).await.map(Some);
    }
    let foreign = ["sso_session", "sso_start_url", "role_arn", "web_identity_token_file", "login_session"];
    if foreign.iter().any(|key| profile.contains_key(*key)) {
        return Err(DriverError::Prerequisite {
            what: format!("The AWS profile {name} signs in in a way that only the AWS CLI knows"),
            hint: format!(
                "Let it: eval \"$(aws configure export-credentials --profile {name} --format env)\""
            ),
        });
    }
    Ok(None)
}

pub(super) fn exists(name: &str, surroundings: &Surroundings) -> bool {
    read(surroundings).contains_key(name)
}

/// Its region.
pub(super) fn region(name: &str, surroundings: &Surroundings) -> Option<String> {
    read(surroundings).get(name)?.get("region").cloned()
}

fn read(surroundings: &Surroundings) -> Profiles {
    let file = |variable: &str, name: &str| -> String {
        let home = || surroundings.home.as_ref().map(|home| home.join(".aws").join(name));
        let path = surroundings.get(variable).map(PathBuf::from).or_else(home);
        path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
    };
    let mut profiles = Profiles::new();
    for (section, key, value) in entries(&file("AWS_CONFIG_FILE", "config")) {
        let name = if section == "default" { Some("default") } else { section.strip_prefix("profile ") };
        if let Some(name) = name {
            profiles.entry(name.trim().to_owned()).or_default().insert(key, value);
        }
    }
    // The credentials file goes first where both say something.
    for (section, key, value) in entries(&file("AWS_SHARED_CREDENTIALS_FILE", "credentials")) {
        profiles.entry(section).or_default().insert(key, value);
    }
    profiles
}

/// Section, key and value of every setting. What is indented belongs to the setting before, and is nothing
/// that is read here.
fn entries(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with(['#', ';']) || line.starts_with([' ', '\t']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            name.trim().clone_into(&mut section);
        } else if let Some((key, value)) = trimmed.split_once('=') {
            found.push((section.clone(), key.trim().to_lowercase(), value.trim().to_owned()));
        }
    }
    found
}

/// A program of the user's prints the keys.
async fn process(profile: &str, command: &str) -> Result<Credentials, DriverError> {
    let failed = |why: String| DriverError::Prerequisite {
        what: format!("The credential_process of the AWS profile {profile} failed: {why}"),
        hint: "Run it by hand to see why".to_owned(),
    };
    let output = Command::new("sh").args(["-c", command]).kill_on_drop(true).output();
    let output = tokio::time::timeout(metadata::PROCESS_LIMIT, output)
        .await
        .map_err(|_| failed("it does not end".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    metadata::read(&output.stdout).ok_or_else(|| failed("it printed no keys".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[default]\nregion = eu-west-1\n\n# ours\n[profile ci]\nregion=eu-central-1\n\
                          s3 =\n  region = nowhere\naws_access_key_id = OLD\n[profile sso]\nsso_session = x\n\
                          [profile made]\ncredential_process = echo \
                          '{\"Version\":1,\"AccessKeyId\":\"P\",\"SecretAccessKey\":\"S\",\"SessionToken\":\"T\"}'\n";
    const CREDENTIALS: &str = "[ci]\naws_access_key_id = AKID\naws_secret_access_key = a=b/c\n";

    fn surroundings(folder: &std::path::Path) -> Surroundings {
        fs::create_dir_all(folder.join(".aws")).unwrap();
        fs::write(folder.join(".aws/config"), CONFIG).unwrap();
        fs::write(folder.join(".aws/credentials"), CREDENTIALS).unwrap();
        Surroundings { variable: Box::new(|_| None), home: Some(folder.to_owned()) }
    }

    #[tokio::test]
    async fn both_files_tell_of_a_profile() {
        let folder = tempfile::tempdir().unwrap();
        let at = surroundings(folder.path());
        let found = keys("ci", &at).await.unwrap().unwrap();
        assert_eq!((found.access_key.as_str(), found.secret_key.as_str()), ("AKID", "a=b/c"));
        assert_eq!(region("ci", &at).as_deref(), Some("eu-central-1"));
        assert_eq!(region("default", &at).as_deref(), Some("eu-west-1"));
        let made = keys("made", &at).await.unwrap().unwrap();
        assert_eq!((made.access_key.as_str(), made.session_token.as_deref()), ("P", Some("T")));
    }

    #[tokio::test]
    async fn what_cannot_be_had_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = surroundings(folder.path());
        assert_eq!(keys("default", &at).await.unwrap(), None, "the default profile has no keys");
        let error = keys("prod", &at).await.unwrap_err().to_string();
        assert_eq!(error, "There is no AWS profile \"prod\"; there are ci, default, made, sso");
        let error = keys("sso", &at).await.unwrap_err();
        assert!(
            matches!(&error, DriverError::Prerequisite { hint, .. } if hint.contains("--profile sso")),
            "{error:?}"
        );
    }
}
