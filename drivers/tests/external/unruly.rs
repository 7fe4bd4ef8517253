//! Every way in which a driver's program can go wrong: one sentence each, at once or at its deadline, and
//! the next call gets a fresh process.

use machine_drivers::{
    Driver, DriverError, Instance, InstanceState, Silent,
    external::{ExternalDriver, Limits, Program},
};
use std::{fs, os::unix::fs::symlink, path::PathBuf, time::Duration};
use tempfile::TempDir;
use tokio::time::timeout;

struct Unruly {
    folder: TempDir,
    driver: ExternalDriver,
    rule: &'static str,
}

impl Unruly {
    /// Deadlines that are not of interest are far away: a loaded computer must not be taken for a bad driver.
    fn new(rule: &'static str) -> Self {
        Self::within(rule, Limits::default())
    }

    fn within(rule: &'static str, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(format!("machine-driver-{rule}"));
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/external/unruly.py");
        symlink(script, &program).unwrap();
        Self { folder, driver: ExternalDriver::with_limits(rule, program, limits), rule }
    }

    async fn state(&self) -> Result<InstanceState, DriverError> {
        self.driver.state(&instance("a")).await
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.folder.path().join(format!("{}.calls", self.rule))).unwrap_or_default()
    }
}

fn instance(id: &str) -> Instance {
    Instance { id: id.to_owned(), data: serde_json::Value::Null }
}

#[tokio::test]
async fn what_is_wrong_is_told_in_one_sentence() {
    for (rule, wanted) in [
        ("dies", "did not answer \"state\": it ended (exit status: 3); it said last: Traceback: out of luck"),
        (
            "nonsense",
            "did not answer \"state\": it printed something that is no message: \"Hello [31mworld\"",
        ),
        ("endless", "did not answer \"state\": it printed a line of more than 4 MiB"),
        ("jsonrpc1", "did not answer \"state\": it speaks JSON-RPC \"1.0\", not 2.0"),
        ("unasked", "did not answer \"state\": it answered call 4711, which nobody has made"),
        (
            "wrong-type",
            "answered \"state\" with something else than was asked for: unknown variant `Dancing`",
        ),
        ("early", "ended (exit status: 1); it said last: No module named cloud"),
        ("version", "speaks version 7 of the protocol, and this machine speaks 1"),
        ("stranger", "calls its driver \"somebody-else\", not \"stranger\""),
        ("prefix", "has an option \"size\"; its options begin with \"prefix-\""),
        ("clash", "has two options \"clash-size\""),
        ("shape", "says who it is in a way that is not understood: invalid type"),
        ("knows-little", "does not know how to state"),
    ] {
        let error = Unruly::new(rule).state().await.unwrap_err().to_string();
        let wanted = format!("The driver's program machine-driver-{rule} {wanted}");
        assert!(error.starts_with(&wanted), "{rule}: {error}");
        assert!(error.lines().count() == 1, "{error}");
    }
    let both = Unruly::new("both").state().await.unwrap_err().to_string();
    assert!(both.contains("printed a message that is neither answer nor progress: "), "{both}");
    assert_eq!(Unruly::new("words").state().await.unwrap_err().to_string(), "No [2Jquota left");
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named() {
    let driver = ExternalDriver::new("gone", PathBuf::from("/nowhere/machine-driver-gone"));
    let error = driver.state(&instance("a")).await.unwrap_err().to_string();
    assert!(
        error.starts_with("The driver's program machine-driver-gone cannot be started: No such file"),
        "{error}"
    );
}

/// The first answer counts; the second ends the process, and the next call has another one.
#[tokio::test]
async fn an_answer_that_comes_twice_costs_the_next_call_nothing_or_a_sentence() {
    let unruly = Unruly::new("twice");
    assert_eq!(unruly.state().await.unwrap(), InstanceState::Running);
    // The second answer to the call before may be read while this one waits.
    if let Err(error) = unruly.state().await {
        assert!(error.to_string().ends_with("it answered call 1 twice"), "{error}");
    }
    assert_eq!(unruly.state().await.unwrap_or(InstanceState::Running), InstanceState::Running);
}

#[tokio::test]
async fn one_that_introduces_itself_twice_is_ended() {
    let unruly = Unruly::new("hello-twice");
    let error = loop {
        if let Err(error) = unruly.state().await {
            break error.to_string();
        }
    };
    assert!(error.ends_with("said twice who it is"), "{error}");
}

/// Answers may come in any order.
#[tokio::test]
async fn answers_are_told_apart() {
    let unruly = Unruly::new("backwards");
    let (a, b, c) = (instance("a"), instance("b"), instance("c"));
    let (x, y, z) = tokio::join!(unruly.driver.state(&a), unruly.driver.state(&b), unruly.driver.state(&c));
    for (answer, wanted) in [(x, "a"), (y, "b"), (z, "c")] {
        assert!(
            matches!(&answer, Err(DriverError::NotFound { id }) if id == wanted),
            "{answer:?} for {wanted}"
        );
    }
}

#[tokio::test]
async fn silence_has_a_deadline() {
    let short = Duration::from_millis(300);
    let unruly = Unruly::within("mute", Limits { hello: short, ..Limits::default() });
    let error = unruly.state().await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("Waiting for the driver's program machine-driver-mute to say who it is")
    );
    assert!(matches!(error, DriverError::Timeout { .. }));

    for rule in ["hangs", "deaf"] {
        let limits = Limits { look: short, settle: short, ..Limits::default() };
        let unruly = Unruly::within(rule, limits);
        unruly.driver.describe().await.unwrap();
        let error = unruly.state().await.unwrap_err();
        assert!(error.to_string().contains("to answer \"state\" took longer than"), "{error}");
        assert!(matches!(error, DriverError::Timeout { .. }));
        // It owes an answer; the next call does without it.
        let started = timeout(Duration::from_secs(60), unruly.driver.start(&instance("a"), &Silent)).await;
        started.expect("a fresh process").unwrap();
    }
}

#[tokio::test]
async fn one_that_stops_talking_without_ending_is_ended() {
    let error = Unruly::new("closes").state().await.unwrap_err().to_string();
    assert!(error.ends_with("it stopped talking without ending"), "{error}");
}

/// A call that is dropped is cancelled, and the next one is made once it has been answered.
#[tokio::test]
async fn a_dropped_call_is_cancelled() {
    let unruly = Unruly::new("slow");
    unruly.driver.describe().await.unwrap();
    let instance = instance("a");
    let dropped = timeout(Duration::from_millis(200), unruly.driver.start(&instance, &Silent)).await;
    assert!(dropped.is_err(), "it never answers by itself");
    assert_eq!(unruly.state().await.unwrap(), InstanceState::Running);
    assert_eq!(unruly.calls(), "start\ncancel 1\n");
}

/// Its input ends first, then it is told to end, then it is ended.
#[tokio::test]
async fn the_end_is_in_good_order() {
    let unruly = Unruly::new("fine");
    assert_eq!(unruly.state().await.unwrap(), InstanceState::Running);
    unruly.driver.rest();
    assert_eq!(unruly.calls(), "end of input\n");

    let unruly = Unruly::new("stubborn");
    assert_eq!(unruly.state().await.unwrap(), InstanceState::Running);
    unruly.driver.rest();
    assert_eq!(unruly.calls(), "end of input\ntold to end\n");
}
