//! QEMU's monitor (QMP, `docs/interop/qmp-spec` in QEMU's sources): what an operator with the hypervisor could do.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// Longest time for an answer; writing the memory takes the longest.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// A connection to the monitor of a running machine.
#[derive(Debug)]
pub struct Monitor {
    answers: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects, and leaves the mode in which only capabilities are spoken of.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub fn connect(socket: &Path) -> Result<Self, MonitorError> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        let mut monitor = Self {
            answers: BufReader::new(stream),
        };
        monitor.next()?;
        monitor.ask("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Writes the machine's memory from physical address 0 on into a file.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub fn save_memory(&mut self, bytes: u64, file: &Path) -> Result<(), MonitorError> {
        let arguments = json!({ "val": 0, "size": bytes, "filename": file });
        self.ask("pmemsave", &arguments).map(drop)
    }

    fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value, MonitorError> {
        let line = json!({ "execute": command, "arguments": arguments }).to_string();
        self.answers.get_mut().write_all(line.as_bytes())?;
        loop {
            let mut said = self.next()?;
            if let Some(answer) = said.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = said.get("error") {
                return Err(MonitorError::Refused(error.to_string()));
            }
            // Everything else is an event, which nobody here waits for.
        }
    }

    fn next(&mut self) -> Result<Value, MonitorError> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(MonitorError::Ended);
        }
        serde_json::from_str(&line).map_err(|_| MonitorError::Ended)
    }
}

/// The monitor did not do as it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// The socket.
    #[error("the monitor cannot be spoken to")]
    Socket(#[from] io::Error),
    /// The emulator has gone.
    #[error("the monitor has ended")]
    Ended,
    /// It said no.
    #[error("the monitor refused: {0}")]
    Refused(String),
}
