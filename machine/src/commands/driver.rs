//! `machine driver check`: the conformance suite against a driver's program.

use super::Context;
use crate::{
    cli::{DriverCheck, DriverCommand},
    drivers, env_vars,
    error::{CommandError, ErrorKind},
    image,
    machine::MachineId,
    options, ssh,
};
use machine_drivers::{
    Driver, DriverOptions, Identity, MachineSpec,
    conformance::{self, Subject},
};
use std::{
    cell::Cell,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

pub(super) async fn run(context: &Context<'_>, command: &DriverCommand) -> Result<(), CommandError> {
    match command {
        DriverCommand::Check(arguments) => check(context, arguments).await,
    }
}

async fn check(context: &Context<'_>, arguments: &DriverCheck) -> Result<(), CommandError> {
    let mut interrupts = context.interrupts.listen();
    let path = context.environment.working_folder.join(&arguments.program);
    let fresh = drivers::of_program(&path).ok_or_else(|| {
        CommandError::new(ErrorKind::Failed, format!("{} is no driver's program", path.display()))
            .hinted("It is an executable file called machine-driver-NAME or docker-machine-driver-NAME")
    })?;
    let program = fresh();
    program.introduce().await?;
    let options = options::of_driver(&*program, &arguments.options, context.environment)?;
    let place = Place::new(context, options)
        .map_err(|error| CommandError::caused("Could not make a folder for machines", &error))?;
    let (total, broken) = (conformance::rules(), Cell::new(0_usize));
    let told = |rule: &str, outcome: Result<(), String>| match outcome {
        Ok(()) => context.ui.data(&format!("kept    {rule}")),
        Err(why) => {
            broken.set(broken.get() + 1);
            context.ui.data(&format!("broken  {rule}: {}", machine_drivers::external::readable(&why)));
        }
    };
    let examined = conformance::examine(|| place.subject(fresh()), told);
    tokio::select! {
        () = examined => {}
        () = interrupts.next() => {
            return Err(CommandError::new(ErrorKind::Interrupted, "Interrupted")
                .hinted(format!("The driver may have left machines; their folders are in {}", place.root.display())));
        }
    }
    if broken.get() == 0 {
        place.remove();
        context.ui.status(&format!("All {total} rules were kept"));
        return Ok(());
    }
    let message = format!("{} of {total} rules were broken", broken.get());
    let left = format!("What machines have left is in {}", place.root.display());
    Err(CommandError::new(ErrorKind::Failed, message).hinted(left))
}

/// Where the machines of one run have their folders, as in a store.
struct Place {
    root: PathBuf,
    owner: String,
    image: Option<PathBuf>,
    options: DriverOptions,
    made: AtomicUsize,
}

impl Place {
    fn new(context: &Context<'_>, options: DriverOptions) -> io::Result<Self> {
        let owner = MachineId::draw()?.as_str().to_owned();
        let folder = context.environment.get(env_vars::TMPDIR).unwrap_or("/tmp");
        let root = context
            .environment
            .working_folder
            .join(folder)
            .join(format!("machine-driver-check-{}", &owner[..8]));
        private(&root)?;
        let image = image::find(None, context.environment).ok();
        Ok(Self { root, owner, image, options, made: AtomicUsize::new(0) })
    }

    /// A machine that has not been made yet, for `driver`, which shares no process with another.
    fn subject(&self, driver: Arc<dyn Driver>) -> Subject {
        let name = format!("check-{}-{}", &self.owner[..8], self.made.fetch_add(1, Ordering::Relaxed));
        let directory = self.root.join("machines").join(&name);
        // Where one of these fails, the driver cannot do what is asked of it, and the rule tells.
        let identity = private(&directory).ok().and_then(|()| ssh::keys::generate(&directory).ok());
        let identity = identity.map(|keys| Identity {
            authorized_key: keys.client_public,
            host_public: keys.host_public,
            host_private: keys.host_private,
        });
        let spec = MachineSpec {
            machine_id: MachineId::draw().map(|id| id.as_str().to_owned()).unwrap_or_else(|_| name.clone()),
            name,
            owner: self.owner.clone(),
            identity: identity.unwrap_or_default(),
            directory,
            cache: self.root.join("cache"),
            image: self.image.clone(),
            cpus: None,
            memory_mib: None,
            disk_gib: None,
            options: self.options.clone(),
        };
        Subject { driver, spec, keep: Box::new(()) }
    }

    fn remove(&self) {
        // Of no use to anybody, and in a folder that is swept.
        _ = fs::remove_dir_all(&self.root);
    }
}

fn private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
