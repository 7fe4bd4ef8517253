//! `machine create`: arguments and environment become a [`Creation`].

use super::Context;
use crate::{
    cli::Create,
    drivers, env_vars,
    error::{CommandError, ErrorKind},
    image,
    lifecycle::Creation,
    store::{Request, StoreError},
};
use guest_contract::seed::EngineSettings;
use machine_drivers::{Driver, DriverOptions};
use std::sync::Arc;

pub(super) async fn run(
    context: &Context<'_>,
    arguments: Create,
    options: DriverOptions,
) -> Result<(), CommandError> {
    let mut interrupts = context.interrupts.listen();
    let name = arguments.name.parse()?;
    let environment = context.environment;
    let driver =
        arguments.driver.as_deref().or(environment.get(env_vars::DRIVER)).unwrap_or(drivers::DEFAULT);
    let driver = Arc::clone(context.drivers.get(driver)?);
    let options = own_options(context, &*driver, options)?;
    let image = match image::find(arguments.image.as_deref(), environment) {
        Ok(image) => Some(image),
        // Only drivers with a seed channel boot our guest image.
        Err(_) if !driver.capabilities().seed_channel && arguments.image.is_none() => None,
        // A taken name is the more useful thing to tell.
        Err(_) if context.store.load(&name).is_ok_and(|record| record.own().is_none_or(is_created)) => {
            return Err(StoreError::Taken { name }.into());
        }
        Err(error) => return Err(error.into()),
    };
    let creation = Creation {
        name,
        driver,
        request: Request {
            image,
            cpus: arguments.cpus,
            memory_mib: arguments.memory,
            disk_gib: arguments.disk,
        },
        options,
        engine: engine_settings(context, &arguments)?,
        keep_on_error: arguments.keep_on_error,
    };
    context.lifecycle().create(creation, &mut interrupts).await
}

fn is_created(own: &crate::store::OwnPart) -> bool {
    own.state == crate::store::Stage::Created
}

/// The options of this driver; one of another driver is a mistake, unless the environment gave it.
fn own_options(
    context: &Context<'_>,
    driver: &dyn Driver,
    mut options: DriverOptions,
) -> Result<DriverOptions, CommandError> {
    for other in context.drivers.iter().filter(|other| other.name() != driver.name()) {
        for spec in other.options() {
            let typed = || {
                let flag = format!("--{}", spec.name);
                let is_flag = |argument: &std::ffi::OsString| {
                    let argument = argument.to_string_lossy();
                    *argument == *flag || argument.starts_with(&format!("{flag}="))
                };
                context.invocation.iter().any(is_flag)
            };
            if options.remove(spec.name).is_some() && typed() {
                let message =
                    format!("--{} is for driver {}, not for {}", spec.name, other.name(), driver.name());
                return Err(CommandError::new(ErrorKind::Usage, message));
            }
        }
    }
    Ok(options)
}

fn engine_settings(context: &Context<'_>, arguments: &Create) -> Result<EngineSettings, CommandError> {
    for (flag, pairs) in
        [("--engine-label", &arguments.engine_label), ("--engine-env", &arguments.engine_env)]
    {
        if let Some(wrong) =
            pairs.iter().find(|pair| pair.split_once('=').is_none_or(|(key, _)| key.is_empty()))
        {
            return Err(CommandError::new(
                ErrorKind::Usage,
                format!("{flag} takes KEY=VALUE, not {wrong:?}"),
            ));
        }
    }
    let mut registry_mirrors = arguments.engine_registry_mirror.clone();
    if registry_mirrors.is_empty()
        && let Some(mirrors) = context.environment.get(env_vars::REGISTRY_MIRROR)
    {
        registry_mirrors.extend(mirrors.split(',').map(|mirror| mirror.trim().to_owned()));
    }
    Ok(EngineSettings {
        labels: arguments.engine_label.clone(),
        env: arguments.engine_env.clone(),
        insecure_registries: arguments.engine_insecure_registry.clone(),
        registry_mirrors,
    })
}
