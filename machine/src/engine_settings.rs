//! What `create` is told about the engine: docker-machine's `--engine-*` options become settings of ours,
//! or a sentence that says why not.

use crate::{
    cli::Create,
    error::{CommandError, ErrorKind},
};
use guest_contract::seed::EngineSettings;

/// The storage driver that the engine has.
const STORAGE_DRIVER: &str = "overlay2";

/// What was asked for, and what the user should know of it.
#[derive(Debug, Default)]
pub(crate) struct EngineChoice {
    /// For the guest.
    pub(crate) settings: EngineSettings,
    /// One sentence each.
    pub(crate) remarks: Vec<String>,
}

impl EngineChoice {
    /// Reads the options; `mirrors` are the environment's, used when there are none on the command line.
    pub(crate) fn of(arguments: &Create, mirrors: Option<&str>) -> Result<Self, CommandError> {
        let mut choice = Self {
            settings: EngineSettings {
                labels: pairs("--engine-label", &arguments.engine_label)?,
                env: pairs("--engine-env", &arguments.engine_env)?,
                insecure_registries: arguments.engine_insecure_registry.clone(),
                registry_mirrors: arguments.engine_registry_mirror.clone(),
                certificate_authorities: Vec::new(),
            },
            remarks: Vec::new(),
        };
        if choice.settings.registry_mirrors.is_empty()
            && let Some(mirrors) = mirrors
        {
            choice
                .settings
                .registry_mirrors
                .extend(mirrors.split(',').map(|mirror| mirror.trim().to_owned()));
        }
        for option in &arguments.engine_opt {
            choice.take_option(option)?;
        }
        if let Some(driver) = &arguments.engine_storage_driver {
            choice.take_storage_driver(driver);
        }
        if arguments.engine_install_url.is_some() {
            choice
                .remarks
                .push("--engine-install-url is not used: a machine brings its own engine".to_owned());
        }
        Ok(choice)
    }

    /// One option of dockerd, in any of the ways people write them: `debug`, `label=a=b`, `dns 8.8.8.8`.
    fn take_option(&mut self, option: &str) -> Result<(), CommandError> {
        let option = option.trim_start_matches("--");
        let (key, value) = option.split_once(['=', ' ']).unwrap_or((option, ""));
        let value = value.trim().to_owned();
        match key {
            "label" => self.settings.labels.extend(pairs("--engine-opt label", &[value])?),
            "insecure-registry" => self.settings.insecure_registries.push(value),
            "registry-mirror" => self.settings.registry_mirrors.push(value),
            "storage-driver" | "s" => self.take_storage_driver(&value),
            "debug" | "D" => self.log("debug"),
            "log-level" | "l" => self.log(&value),
            // So it is, whatever is asked.
            "live-restore" | "experimental" | "iptables" | "ip-forward" | "userland-proxy"
                if value != "false" => {}
            _ => {
                return Err(CommandError::new(
                    ErrorKind::Failed,
                    format!("The engine has no option \"{key}\", which --engine-opt asks for"),
                )
                .hinted(
                    "It has label, insecure-registry, registry-mirror, storage-driver, debug and log-level; \
                     what a container needs can be said to docker run",
                ));
            }
        }
        Ok(())
    }

    fn take_storage_driver(&mut self, driver: &str) {
        if driver != STORAGE_DRIVER {
            self.remarks
                .push(format!("The storage driver is {STORAGE_DRIVER}, not {driver}: there is no other"));
        }
    }

    fn log(&mut self, level: &str) {
        let level = if level == "fatal" { "error" } else { level };
        self.settings.env.push(format!("MACHINE_ENGINE_LOG={level}"));
    }
}

fn pairs(flag: &str, pairs: &[String]) -> Result<Vec<String>, CommandError> {
    match pairs.iter().find(|pair| pair.split_once('=').is_none_or(|(key, _)| key.is_empty())) {
        Some(wrong) => {
            Err(CommandError::new(ErrorKind::Usage, format!("{flag} takes KEY=VALUE, not {wrong:?}")))
        }
        None => Ok(pairs.to_vec()),
    }
}
