//! `machine create`: arguments and environment become a [`Creation`].

use super::Context;
use crate::{
    certificates::CertificateFiles,
    cli::{Create, TlsFiles},
    drivers,
    engine_settings::EngineChoice,
    env_vars,
    error::{CommandError, ErrorKind},
    folder_choice::{self, Said},
    image, inherited,
    lifecycle::Creation,
    store::{Request, StoreError, TlsPart},
    virtualbox,
};
use machine_drivers::{Driver, DriverOptions};

pub(super) async fn run(
    context: &Context<'_>,
    arguments: Create,
    tls_files: TlsFiles,
    options: DriverOptions,
) -> Result<(), CommandError> {
    let mut interrupts = context.interrupts.listen();
    let name = arguments.name.parse()?;
    context.no_swarm(arguments.swarm.is_asked_for())?;
    let environment = context.environment;
    let driver =
        arguments.driver.as_deref().or(environment.get(env_vars::DRIVER)).unwrap_or(drivers::DEFAULT);
    let (driver, stands_in) = if driver == virtualbox::DRIVER && context.drivers.get(driver).is_err() {
        let other = environment.get(env_vars::DRIVER).filter(|other| *other != virtualbox::DRIVER);
        (other.unwrap_or(drivers::DEFAULT), true)
    } else {
        (driver, false)
    };
    let driver = context.drivers.get(driver)?;
    let asked = virtualbox::sizes(&arguments.virtualbox, environment);
    let (mut cpus, mut memory_mib, mut disk_gib) = (arguments.cpus, arguments.memory, arguments.disk);
    if stands_in {
        context.ui.warning(&format!(
            "There is no VirtualBox here: the {} driver makes a machine of these sizes",
            driver.name()
        ));
        cpus = cpus.or(asked.cpus);
        memory_mib = memory_mib.or(asked.memory_mib);
        disk_gib = disk_gib.or(asked.disk_gib);
    }
    // What the environment tells VirtualBox is no wish about a host elsewhere.
    let mounts = if driver.capabilities().local {
        virtualbox::mounts(&arguments.virtualbox, environment, arguments.mount.clone())
    } else {
        arguments.mount.clone()
    };
    let none = arguments.no_mount || arguments.virtualbox.virtualbox_no_share;
    let folders = folder_choice::choose(Said { mounts: &mounts, none }, &*driver, environment)?;
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
    let mut engine = EngineChoice::of(&arguments, environment.get(env_vars::REGISTRY_MIRROR))?;
    if !arguments.no_inherit {
        inherit(context, &mut engine, driver.capabilities().local);
    }
    engine.remarks.iter().for_each(|remark| context.ui.warning(remark));
    let creation = Creation {
        name,
        driver,
        request: Request { image, cpus, memory_mib, disk_gib, folders },
        options,
        engine: engine.settings,
        tls: TlsPart { hosts: arguments.tls_san, files: certificate_files(context, tls_files) },
        keep_on_error: arguments.keep_on_error,
    };
    let name = creation.name.clone();
    context.lifecycle().create(creation, &mut interrupts).await?;
    if arguments.autostart {
        context.set_autostart(&name, true)?;
    }
    Ok(())
}

/// What was said on the command line goes before what this computer says.
fn inherit(context: &Context<'_>, engine: &mut EngineChoice, is_local: bool) {
    let settings = &mut engine.settings;
    let said: Vec<String> =
        settings.env.iter().filter_map(|pair| Some(pair.split_once('=')?.0.to_lowercase())).collect();
    let proxies = inherited::proxies(context.environment, is_local);
    let unsaid =
        |pair: &String| pair.split_once('=').is_some_and(|(name, _)| !said.contains(&name.to_lowercase()));
    settings.env.extend(proxies.into_iter().filter(unsaid));
    settings.certificate_authorities = inherited::authorities();
}

/// Where the store's certificates are, when it is somewhere else than by default.
fn certificate_files(context: &Context<'_>, flags: TlsFiles) -> Option<CertificateFiles> {
    let mut files = CertificateFiles::in_store(context.store.root());
    let default = files.clone();
    for (file, flag, variable) in [
        (&mut files.authority, flags.tls_ca_cert, env_vars::TLS_CA_CERT),
        (&mut files.authority_key, flags.tls_ca_key, env_vars::TLS_CA_KEY),
        (&mut files.client, flags.tls_client_cert, env_vars::TLS_CLIENT_CERT),
        (&mut files.client_key, flags.tls_client_key, env_vars::TLS_CLIENT_KEY),
    ] {
        if let Some(path) = flag.or_else(|| context.environment.get(variable).map(Into::into)) {
            *file = context.environment.working_folder.join(path);
        }
    }
    (files != default).then_some(files)
}

fn is_created(own: &crate::store::OwnPart) -> bool {
    own.state == crate::store::Stage::Created
}

/// The options of this driver; one of another driver is a mistake, unless the environment gave it.
pub(super) fn own_options(
    context: &Context<'_>,
    driver: &dyn Driver,
    mut options: DriverOptions,
) -> Result<DriverOptions, CommandError> {
    for other in context.drivers.known().iter().filter(|other| other.name() != driver.name()) {
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
