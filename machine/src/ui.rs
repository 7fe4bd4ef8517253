//! The sole owner of the terminal: data goes to stdout, talk to stderr. Called as `docker-machine`, talk
//! goes where docker-machine's did: to stdout, but for errors.
//!
//! Where stderr is a terminal a long step is one line with a spinner and the seconds so far; elsewhere
//! every phase is a plain line of its own.

use crate::error::CommandError;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use machine_drivers::Progress;
use std::{
    fmt,
    io::{self, BufRead, IsTerminal, Write},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// The terminal, or what stands for it.
pub struct Ui {
    data: Mutex<Box<dyn Write + Send>>,
    talk: Mutex<Talk>,
    input: Mutex<Box<dyn BufRead + Send>>,
    /// Talk goes to stdout.
    talks_on_stdout: AtomicBool,
    terminal: bool,
    color: bool,
}

struct Talk {
    lines: Box<dyn Write + Send>,
    spinner: Option<ProgressBar>,
}

/// A long step that is being shown; dropping it ends it.
#[derive(Debug)]
pub struct Step<'a> {
    ui: &'a Ui,
    subject: String,
    started: Instant,
}

/// Shows what a driver tells, as docker-machine did: `(dev) Formatting a disk`.
#[derive(Debug)]
pub struct DriverLines<'a> {
    ui: &'a Ui,
    subject: String,
}

impl Ui {
    /// The process's own streams. `no_color` is what the environment says.
    pub fn of_process(no_color: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            data: Mutex::new(Box::new(io::stdout())),
            talk: Mutex::new(Talk { lines: Box::new(io::stderr()), spinner: None }),
            input: Mutex::new(Box::new(io::BufReader::new(io::stdin()))),
            talks_on_stdout: AtomicBool::new(false),
            terminal,
            color: terminal && !no_color,
        }
    }

    /// Streams that are no terminal.
    pub fn captured(
        data: impl Write + Send + 'static,
        talk: impl Write + Send + 'static,
        input: impl BufRead + Send + 'static,
    ) -> Self {
        Self {
            data: Mutex::new(Box::new(data)),
            talk: Mutex::new(Talk { lines: Box::new(talk), spinner: None }),
            input: Mutex::new(Box::new(input)),
            talks_on_stdout: AtomicBool::new(false),
            terminal: false,
            color: false,
        }
    }

    /// From now on talk that is no error goes to stdout, in plain lines: what docker-machine's callers read
    /// is there, and some take anything on stderr for a failure.
    pub fn talk_on_stdout(&self) {
        self.talks_on_stdout.store(true, Ordering::Relaxed);
    }

    /// One line, or several, of data.
    pub fn data(&self, text: &str) {
        let mut data = lock(&self.data);
        // A reader that has gone away (`machine ls | head -1`) is no failure, and there is nobody to tell.
        _ = writeln!(data, "{text}").and_then(|()| data.flush());
    }

    /// Data as it is, without a line end of ours.
    pub fn data_raw(&self, text: &str) {
        let mut data = lock(&self.data);
        _ = data.write_all(text.as_bytes()).and_then(|()| data.flush());
    }

    /// One line of talk.
    pub fn status(&self, text: &str) {
        if self.talks_on_stdout.load(Ordering::Relaxed) {
            return self.data(text);
        }
        self.complain(text);
    }

    /// One line on stderr, whoever calls.
    fn complain(&self, text: &str) {
        let mut talk = lock(&self.talk);
        match talk.spinner.clone() {
            Some(spinner) => spinner.suspend(|| _ = writeln!(talk.lines, "{text}")),
            None => _ = writeln!(talk.lines, "{text}"),
        }
    }

    /// Something the user should know though it stops nothing.
    pub fn warning(&self, text: &str) {
        self.status(&format!("{} {text}", self.painted("Warning:", "33")));
    }

    /// A failure: what, why, and what to do.
    pub fn error(&self, error: &CommandError) {
        if error.message.is_empty() {
            return;
        }
        let mut text = format!("{} {}", self.painted("Error:", "31"), error.message);
        for (number, cause) in error.causes.iter().enumerate() {
            let label = if error.causes.len() == 1 { String::new() } else { format!("{}: ", number + 1) };
            if number == 0 && error.causes.len() > 1 {
                text += "\nCaused by:";
            }
            text +=
                &if label.is_empty() { format!("\nCaused by: {cause}") } else { format!("\n{label}{cause}") };
        }
        for hint in &error.hints {
            text += &format!("\n{} {hint}", self.painted("Hint:", "36"));
        }
        self.complain(&text);
    }

    /// A wrong command line and how it is right.
    pub fn usage(&self, text: &str) {
        self.complain(text);
    }

    /// Begins to show a long step about `subject`, a machine's name.
    pub fn step(&self, subject: &str) -> Step<'_> {
        if self.terminal && !self.talks_on_stdout.load(Ordering::Relaxed) {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            spinner.enable_steady_tick(TICK);
            // The spinner of a machine started beside this one goes on alone; only one is drawn.
            if let Some(earlier) = lock(&self.talk).spinner.replace(spinner) {
                earlier.finish_and_clear();
            }
        }
        Step { ui: self, subject: subject.to_owned(), started: Instant::now() }
    }

    /// Asks a question that is answered by y or n. `None` when there is nobody to answer.
    pub fn confirm(&self, question: &str) -> io::Result<Option<bool>> {
        {
            let mut talk = lock(&self.talk);
            write!(talk.lines, "{question} (y/n): ")?;
            talk.lines.flush()?;
        }
        let mut answer = String::new();
        if lock(&self.input).read_line(&mut answer)? == 0 {
            return Ok(None);
        }
        Ok(Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")))
    }

    /// Shows the steps of a driver that works on the machine `subject`.
    pub fn driver_lines(&self, subject: &str) -> DriverLines<'_> {
        DriverLines { ui: self, subject: subject.to_owned() }
    }

    fn painted(&self, text: &str, color: &str) -> String {
        if self.color { format!("\x1b[1;{color}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Step<'_> {
    /// What is going on now.
    pub fn phase(&self, text: &str) {
        let line = format!("({}) {text}", self.subject);
        let spinner = lock(&self.ui.talk).spinner.clone();
        match spinner {
            Some(spinner) => spinner.set_message(line),
            None => self.ui.status(&format!("{line} ({:.1} s)", self.started.elapsed().as_secs_f64())),
        }
    }

    /// Time since it began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if let Some(spinner) = lock(&self.ui.talk).spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

impl Progress for DriverLines<'_> {
    fn step(&self, text: &str) {
        self.ui.status(&format!("({}) {text}", self.subject));
    }
}

impl fmt::Debug for Ui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ui").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

/// A thread that panicked while it wrote has at worst left half a line.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
