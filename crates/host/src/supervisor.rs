//! Starts the enclave, waits for its heartbeat, and starts it again when it ends.
//!
//! Guarantees: one enclave at a time; pauses between starts grow to [`LONGEST_PAUSE`]; when this program is told to end,
//! the enclave ends with it, first asked, then forced.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use adyton_vsock::enclave::Enclave;
use adyton_vsock::port;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::log::Log;

/// The pause before the first restart; it doubles with each.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Who has run for so long starts with a short pause again.
const WELL: Duration = Duration::from_secs(300);

/// How long the enclave may take to end when it is asked.
const STOP_TIME: Duration = Duration::from_secs(10);

/// How often a detached enclave is looked for, and how often in a row it may be missed.
const LOOK: Duration = Duration::from_secs(10);
const MAY_MISS: u32 = 3;
const LOOK_TIME: Duration = Duration::from_secs(5);

/// How the enclave is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What the end of the command means.
    pub mode: Mode,
    /// How long a boot may take, until the heartbeat.
    pub heartbeat: Duration,
}

/// What the end of the command means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The enclave has ended: an emulator.
    Stays,
    /// The enclave has been started: `nitro-cli run-enclave`. Whether it lives is seen by connecting to it.
    Detaches {
        /// The program and its arguments that end it.
        stop: Vec<String>,
    },
}

/// Why an enclave is not there any more.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the command cannot be started: {0}")]
    NotStarted(io::Error),
    #[error("the command ended: {0}")]
    Command(ExitStatus),
    #[error("no heartbeat came in time")]
    Silent,
    #[error("it does not answer any more")]
    Gone,
}

/// Keeps an enclave running.
#[derive(Debug)]
pub struct Supervisor {
    /// How.
    pub run: Run,
    /// Where it is.
    pub enclave: Enclave,
    /// Counts heartbeats. None: the command hears them, and says by its success that it did (`nitro-cli`).
    pub heard: Option<watch::Receiver<u64>>,
    /// The operator's.
    pub log: Log,
}

impl Supervisor {
    /// Runs until `stop` is true, and ends the enclave then.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = Instant::now();
            let mut child = None;
            let ended = tokio::select! {
                ended = self.one_life(&mut child) => Some(ended),
                _ = stop.wait_for(|stop| *stop) => None,
            };
            self.end(child).await;
            let Some(ended) = ended else {
                return self.log.say("the enclave was ended");
            };
            if begun.elapsed() >= WELL {
                pause = FIRST_PAUSE;
            }
            let seconds = pause.as_secs();
            self.log.say(&format!(
                "the enclave ended: {ended}; next start in {seconds} s"
            ));
            tokio::select! {
                () = sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// From the start of an enclave to its end, however that comes.
    async fn one_life(&mut self, child: &mut Option<Child>) -> Ended {
        if let Some(heard) = &mut self.heard {
            heard.mark_unchanged();
        }
        let started = match start(&self.run.command) {
            Ok(started) => child.insert(started),
            Err(error) => return Ended::NotStarted(error),
        };
        self.log.say("the enclave is started");
        let deadline = Instant::now() + self.run.heartbeat;
        if let Mode::Detaches { .. } = self.run.mode {
            match tokio::time::timeout_at(deadline, started.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(Ok(status)) => return Ended::Command(status),
                Ok(Err(error)) => return Ended::NotStarted(error),
                Err(_) => return Ended::Silent,
            }
        }
        if let Some(heard) = &mut self.heard {
            let heartbeat = tokio::time::timeout_at(deadline, heard.changed());
            let heard = match self.run.mode {
                Mode::Stays => tokio::select! {
                    status = started.wait() => return ended(status),
                    heard = heartbeat => heard,
                },
                Mode::Detaches { .. } => heartbeat.await,
            };
            if !matches!(heard, Ok(Ok(()))) {
                return Ended::Silent;
            }
            self.log.say("the enclave's heartbeat was heard");
        }
        match self.run.mode {
            Mode::Stays => ended(started.wait().await),
            Mode::Detaches { .. } => self.missed(deadline).await,
        }
    }

    /// Ready when a detached enclave cannot be reached several times in a row, from the end of its boot on.
    async fn missed(&self, booted: Instant) -> Ended {
        let mut missed = 0;
        let mut answered = false;
        while missed < MAY_MISS {
            sleep(LOOK).await;
            let looking = timeout(LOOK_TIME, self.enclave.connect(port::ENCLAVE_TLS)).await;
            match looking {
                Ok(Ok(_)) => (missed, answered) = (0, true),
                Ok(Err(_)) | Err(_) if answered || Instant::now() > booted => missed += 1,
                Ok(Err(_)) | Err(_) => {}
            }
        }
        Ended::Gone
    }

    /// Ends what is left of an enclave.
    async fn end(&self, child: Option<Child>) {
        if let Some(mut child) = child {
            end_group(&mut child).await;
        }
        if let Mode::Detaches { stop } = &self.run.mode
            && let Ok(mut stopping) = start(stop)
        {
            // It may have ended already, and then this fails, as it should.
            drop(timeout(STOP_TIME, stopping.wait()).await);
        }
    }
}

fn start(command: &[String]) -> io::Result<Child> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    // A group of its own: what it starts ends with it, and a terminal's signals reach this program only.
    Command::new(program)
        .args(arguments)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

fn ended(status: io::Result<ExitStatus>) -> Ended {
    match status {
        Ok(status) => Ended::Command(status),
        Err(error) => Ended::NotStarted(error),
    }
}

/// Asks the whole group to end, and forces what does not.
async fn end_group(child: &mut Child) {
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    // Without an id it has ended and was waited for.
    let Some(group) = group else { return };
    // Whoever is gone cannot be asked.
    let _ = kill_process_group(group, Signal::TERM);
    if timeout(STOP_TIME, child.wait()).await.is_err() {
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait().await;
    }
}
