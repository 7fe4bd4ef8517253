//! Every rule that `driver.rs` states, run against any driver: a driver's own tests run [`conformance`], and
//! `machine driver check` runs [`examine`] against any executable. A broken rule panics and names itself.

use crate::{Driver, DriverError, Instance, InstanceState, MachineSpec, Silent};
use std::{
    any::Any,
    cell::Cell,
    collections::BTreeSet,
    fmt,
    future::poll_fn,
    panic::{self, AssertUnwindSafe},
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// How long a healthy guest may take to obey [`Driver::stop`].
const GRACE: Duration = Duration::from_secs(20);
/// How long a driver may report a state on the way to the one awaited.
const SETTLE: Duration = Duration::from_secs(20);

/// A driver with one machine to make. Its folder exists and is empty; instances of all subjects of
/// one run must be within reach of every subject's driver, as they are for two runs of the CLI.
pub struct Subject {
    /// The driver under test.
    pub driver: Arc<dyn Driver>,
    /// What to make; a different machine for every subject.
    pub spec: MachineSpec,
    /// Whatever must live as long as the subject (temporary folders, fake providers).
    pub keep: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("driver", &self.driver)
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

type Make<'a> = &'a (dyn Fn() -> Subject + Sync);
type Run = Pin<Box<dyn Future<Output = ()> + Send>>;
type Rule = fn(Make<'_>) -> Run;

/// The rules by name, in the order in which a new driver learns them.
static RULES: &[(&str, Rule)] = &[
    ("describes itself", |make| Box::pin(describes_itself(make()))),
    ("check changes nothing", |make| Box::pin(check_changes_nothing(make()))),
    ("an impossible machine leaves nothing", |make| Box::pin(an_impossible_spec_leaves_nothing(make()))),
    ("create makes, and starts only where it says so", |make| Box::pin(create_does_not_start(make()))),
    ("create twice is create once", |make| Box::pin(create_twice_is_create_once(make()))),
    ("start reaches running", |make| Box::pin(start_reaches_running(make()))),
    ("start twice is start once", |make| Box::pin(start_twice_is_start_once(make()))),
    ("concurrent starts make one VM", |make| Box::pin(concurrent_starts_make_one_vm(make()))),
    ("stop powers off, and start brings it back", |make| {
        Box::pin(stop_powers_off_and_start_brings_it_back(make()))
    }),
    ("kill powers off, and start brings it back", |make| {
        Box::pin(kill_powers_off_and_start_brings_it_back(make()))
    }),
    ("remove takes everything", |make| Box::pin(remove_takes_everything(make(), false))),
    ("remove takes everything while it runs", |make| Box::pin(remove_takes_everything(make(), true))),
    ("an unknown instance is not found", |make| Box::pin(an_unknown_instance_is_not_found(make()))),
    ("cancelled calls can be repeated", |make| Box::pin(cancelled_calls_can_be_repeated(make()))),
    ("another process sees the same", |make| Box::pin(another_process_sees_the_same(make(), make()))),
    ("machines are independent", |make| Box::pin(machines_are_independent(make(), make()))),
];

/// Runs the whole suite; `make` gives a fresh machine for every rule.
///
/// # Panics
/// When the driver breaks a rule.
pub async fn conformance(make: impl Fn() -> Subject + Sync) {
    for (_, run) in RULES {
        run(&make).await;
    }
}

/// The same to the last rule, whatever is broken: `told` hears of each what it is called and what was wrong.
/// What a rule left behind when it broke is removed as far as the driver finds it again.
pub async fn examine(make: impl Fn() -> Subject + Sync, mut told: impl FnMut(&str, Result<(), String>)) {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !EXAMINING.get() {
            hook(panic);
        }
    }));
    for (name, run) in RULES {
        let made = Mutex::new(Vec::new());
        let noting = || {
            let subject = make();
            let note = (
                Arc::clone(&subject.driver),
                subject.spec.directory.clone(),
                subject.spec.machine_id.clone(),
            );
            made.lock().unwrap_or_else(PoisonError::into_inner).push(note);
            subject
        };
        let outcome = caught(run(&noting)).await;
        if outcome.is_err() {
            for (driver, directory, id) in made.into_inner().unwrap_or_else(PoisonError::into_inner) {
                tidy(&*driver, &directory, &id).await;
            }
        }
        told(name, outcome);
    }
}

thread_local! {
    /// A rule is at work on this thread: a panic of its is told by us.
    static EXAMINING: Cell<bool> = const { Cell::new(false) };
}

/// Runs a rule; what it panicked with, where it did.
async fn caught(mut run: Run) -> Result<(), String> {
    poll_fn(|context| {
        EXAMINING.set(true);
        let polled = panic::catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context)));
        EXAMINING.set(false);
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(text(&*panic))),
        }
    })
    .await
}

/// How many rules there are.
pub fn rules() -> usize {
    RULES.len()
}

/// A broken driver may not manage, which its broken rule has told already.
async fn tidy(driver: &dyn Driver, directory: &Path, machine_id: &str) {
    if let Ok(Some(instance)) = driver.recover(directory, machine_id).await {
        _ = driver.remove(&instance).await;
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("It panicked").to_owned()
}

async fn describes_itself(s: Subject) {
    let name = s.driver.name();
    assert!(!name.is_empty(), "a driver has a name");
    let mut seen = BTreeSet::new();
    for option in s.driver.options() {
        assert!(
            option.name.starts_with(&format!("{name}-")),
            "option {} bears the driver's name",
            option.name
        );
        assert!(seen.insert(option.name), "option {} exists once", option.name);
        assert!(!option.help.is_empty() && !option.help.ends_with('.'), "help of {}", option.name);
    }
}

async fn check_changes_nothing(s: Subject) {
    let before = files(&s.spec.directory);
    s.driver.check(&s.spec).await.expect("check of a possible machine");
    assert_eq!(files(&s.spec.directory), before, "check changes nothing");
}

async fn an_impossible_spec_leaves_nothing(mut s: Subject) {
    let before = files(&s.spec.directory);
    s.spec.cpus = Some(0);
    let error = s.driver.check(&s.spec).await.expect_err("check refuses a machine without CPUs");
    assert!(matches!(error, DriverError::InvalidSpec(_)), "check names the field, not {error:?}");
    let error = s.driver.create(&s.spec, &Silent).await.expect_err("create refuses a machine without CPUs");
    assert!(matches!(error, DriverError::InvalidSpec(_)), "create names the field, not {error:?}");
    assert_eq!(files(&s.spec.directory), before, "a failed create leaves nothing behind");
}

async fn create_does_not_start(s: Subject) {
    let instance = create(&s).await;
    if s.driver.capabilities().runs_when_created {
        settle(&s, &instance, InstanceState::Running, "after a create that starts").await;
        finish(&s, &instance).await;
        return;
    }
    assert_eq!(state(&s, &instance).await, InstanceState::Stopped, "state after create");
    let error = s.driver.access(&instance).await.expect_err("access before start");
    assert!(
        matches!(error, DriverError::NotRunning { .. }),
        "access before start is NotRunning, not {error:?}"
    );
    s.driver.console_tail(&instance, 10).await.expect("console before start");
    s.driver.stop(&instance, GRACE).await.expect("stopping a machine that never ran does nothing");
    s.driver.kill(&instance).await.expect("killing a machine that never ran does nothing");
    assert_eq!(state(&s, &instance).await, InstanceState::Stopped, "still stopped");
    finish(&s, &instance).await;
}

async fn create_twice_is_create_once(s: Subject) {
    let first = create(&s).await;
    assert_eq!(create(&s).await, first, "a second create returns the same instance");
    start(&s, &first).await;
    let access = s.driver.access(&first).await.expect("access");
    assert_eq!(create(&s).await, first, "create of a running machine returns it");
    assert_eq!(state(&s, &first).await, InstanceState::Running, "create does not disturb a running machine");
    assert_eq!(s.driver.access(&first).await.expect("access"), access, "nor the way to reach it");
    finish(&s, &first).await;
}

async fn start_reaches_running(s: Subject) {
    let instance = create(&s).await;
    start(&s, &instance).await;
    let access = s.driver.access(&instance).await.expect("access of a running machine");
    assert!(!access.ssh.host.is_empty() && access.ssh.port != 0 && !access.ssh.user.is_empty(), "{access:?}");
    assert!(!access.ip.is_empty(), "{access:?}");
    let claims = s.driver.capabilities().seed_channel;
    assert_eq!(access.seed_socket.is_some(), claims, "a seed socket exactly if the capability says so");
    let all = s.driver.console_tail(&instance, usize::MAX).await.expect("console");
    let one = s.driver.console_tail(&instance, 1).await.expect("console");
    assert!(one.len() <= 1 && one.len() <= all.len(), "at most as many console lines as asked for");
    finish(&s, &instance).await;
}

async fn start_twice_is_start_once(s: Subject) {
    let instance = create(&s).await;
    start(&s, &instance).await;
    let access = s.driver.access(&instance).await.expect("access");
    start(&s, &instance).await;
    assert_eq!(s.driver.access(&instance).await.expect("access"), access, "the second start does nothing");
    finish(&s, &instance).await;
}

async fn concurrent_starts_make_one_vm(s: Subject) {
    let instance = create(&s).await;
    let (a, b) = tokio::join!(s.driver.start(&instance, &Silent), s.driver.start(&instance, &Silent));
    a.expect("first of two starts");
    b.expect("second of two starts");
    settle(&s, &instance, InstanceState::Running, "after two starts at once").await;
    s.driver.kill(&instance).await.expect("kill");
    settle(&s, &instance, InstanceState::Stopped, "one kill ends what two starts began").await;
    finish(&s, &instance).await;
}

async fn stop_powers_off_and_start_brings_it_back(s: Subject) {
    let instance = create(&s).await;
    for round in ["first", "second"] {
        start(&s, &instance).await;
        s.driver.stop(&instance, GRACE).await.unwrap_or_else(|e| panic!("{round} stop: {e:?}"));
        assert_eq!(state(&s, &instance).await, InstanceState::Stopped, "state right after stop");
        let error = s.driver.access(&instance).await.expect_err("access after stop");
        assert!(matches!(error, DriverError::NotRunning { .. }), "access after stop: {error:?}");
        s.driver.stop(&instance, GRACE).await.expect("stopping a stopped machine does nothing");
    }
    finish(&s, &instance).await;
}

async fn kill_powers_off_and_start_brings_it_back(s: Subject) {
    let instance = create(&s).await;
    for round in ["first", "second"] {
        start(&s, &instance).await;
        s.driver.kill(&instance).await.unwrap_or_else(|e| panic!("{round} kill: {e:?}"));
        assert_eq!(state(&s, &instance).await, InstanceState::Stopped, "state right after kill");
        s.driver.kill(&instance).await.expect("killing a stopped machine does nothing");
    }
    finish(&s, &instance).await;
}

async fn remove_takes_everything(s: Subject, running: bool) {
    let before = files(&s.spec.directory);
    let instance = create(&s).await;
    if running {
        start(&s, &instance).await;
    }
    s.driver.remove(&instance).await.unwrap_or_else(|e| panic!("remove, running={running}: {e:?}"));
    assert_eq!(files(&s.spec.directory), before, "remove takes all that create and start made");
    everything_is_not_found(&s, &instance).await;
    let again = create(&s).await;
    let anew = state(&s, &again).await;
    let runs = s.driver.capabilities().runs_when_created;
    let fits = if runs {
        matches!(anew, InstanceState::Starting | InstanceState::Running)
    } else {
        anew == InstanceState::Stopped
    };
    assert!(fits, "a removed machine can be made anew, not {anew}");
    finish(&s, &again).await;
}

async fn an_unknown_instance_is_not_found(s: Subject) {
    let mut instance = create(&s).await;
    s.driver.remove(&instance).await.expect("remove");
    instance.id.push_str("-never-made");
    everything_is_not_found(&s, &instance).await;
}

/// Dropping a future leaves the state before or the state after; either way the call can be repeated.
async fn cancelled_calls_can_be_repeated(s: Subject) {
    for wait in [Duration::ZERO, Duration::from_millis(2), Duration::from_millis(20)] {
        let _ = timeout(wait, s.driver.create(&s.spec, &Silent)).await;
        let instance = create(&s).await;
        let _ = timeout(wait, s.driver.start(&instance, &Silent)).await;
        start(&s, &instance).await;
        let _ = timeout(wait, s.driver.stop(&instance, GRACE)).await;
        s.driver.stop(&instance, GRACE).await.expect("stop after a cancelled stop");
        start(&s, &instance).await;
        let _ = timeout(wait, s.driver.kill(&instance)).await;
        s.driver.kill(&instance).await.expect("kill after a cancelled kill");
        let _ = timeout(wait, s.driver.remove(&instance)).await;
        finish(&s, &instance).await;
    }
}

async fn another_process_sees_the_same(s: Subject, other: Subject) {
    let instance = create(&s).await;
    start(&s, &instance).await;
    let text = serde_json::to_string(&instance).expect("an instance is JSON");
    let reread: Instance = serde_json::from_str(&text).expect("an instance comes back from JSON");
    let same = Subject { driver: other.driver, spec: s.spec.clone(), keep: other.keep };
    assert_eq!(state(&same, &reread).await, InstanceState::Running, "seen by another process");
    let ours = s.driver.access(&instance).await.expect("access");
    assert_eq!(same.driver.access(&reread).await.expect("access"), ours, "reached by another process");
    same.driver.stop(&reread, GRACE).await.expect("stop by another process");
    assert_eq!(state(&s, &instance).await, InstanceState::Stopped, "stopped by another process");
    finish(&same, &reread).await;
}

async fn machines_are_independent(a: Subject, b: Subject) {
    let (first, second) = tokio::join!(create(&a), create(&b));
    assert_ne!(first.id, second.id, "two machines have two ids");
    tokio::join!(start(&a, &first), start(&b, &second));
    a.driver.kill(&first).await.expect("kill");
    assert_eq!(state(&b, &second).await, InstanceState::Running, "killing one leaves the other");
    finish(&a, &first).await;
    assert_eq!(state(&b, &second).await, InstanceState::Running, "removing one leaves the other");
    finish(&b, &second).await;
}

async fn create(s: &Subject) -> Instance {
    s.driver.create(&s.spec, &Silent).await.expect("create")
}

async fn start(s: &Subject, instance: &Instance) {
    s.driver.start(instance, &Silent).await.expect("start");
    settle(s, instance, InstanceState::Running, "after start").await;
}

async fn state(s: &Subject, instance: &Instance) -> InstanceState {
    s.driver.state(instance).await.expect("state")
}

/// Waits for `wanted`, letting pass only the states that lead there.
async fn settle(s: &Subject, instance: &Instance, wanted: InstanceState, when: &str) {
    let deadline = Instant::now() + SETTLE;
    loop {
        let now = state(s, instance).await;
        if now == wanted {
            return;
        }
        let passing = matches!(
            (now, wanted),
            (InstanceState::Starting, InstanceState::Running)
                | (InstanceState::Stopping, InstanceState::Stopped)
        );
        assert!(passing && Instant::now() < deadline, "{when}: {now} instead of {wanted}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn finish(s: &Subject, instance: &Instance) {
    s.driver.remove(instance).await.expect("remove");
    s.driver.remove(instance).await.expect("removing what is gone");
    let error = s.driver.state(instance).await.expect_err("state after remove");
    assert!(matches!(error, DriverError::NotFound { .. }), "state after remove: {error:?}");
}

async fn everything_is_not_found(s: &Subject, instance: &Instance) {
    let d = &s.driver;
    not_found("state", &d.state(instance).await);
    not_found("access", &d.access(instance).await);
    not_found("start", &d.start(instance, &Silent).await);
    not_found("stop", &d.stop(instance, GRACE).await);
    not_found("kill", &d.kill(instance).await);
    not_found("console_tail", &d.console_tail(instance, 1).await);
    d.remove(instance).await.expect("removing what is gone");
}

fn not_found<T: fmt::Debug>(call: &str, result: &Result<T, DriverError>) {
    assert!(
        matches!(result, Err(DriverError::NotFound { .. })),
        "{call} of an instance that does not exist: {result:?}"
    );
}

fn files(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).expect("the machine's folder exists");
    entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect()
}
