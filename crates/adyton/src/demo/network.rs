//! What a person can do to the demo's storage nodes, in its own terminal: end one, write, start it again, and see it catch up.

use std::fmt::Write;
use std::io;
use std::time::{Duration, Instant};

use adyton_client::clock::Clock;
use adyton_client::session::Session;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::database::DatabaseName;
use adyton_sandbox::Sandbox;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::import::Mailbox;

/// The database of the schema `social-email`.
const EMAILS: &str = "social_email";
/// How long a node that was started is watched.
const CATCH_UP: Duration = Duration::from_secs(20);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(50);

/// What can be typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Stop(usize),
    Start(usize),
    Write,
    Nodes,
}

impl Order {
    /// Nodes are counted from 1 here, and from 0 everywhere else.
    fn parse(line: &str, count: usize) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (order, which) = (words.next()?, words.next());
        if words.next().is_some() {
            return None;
        }
        let which = match which {
            None => None,
            Some(text) => Some(text.parse::<usize>().ok()?.checked_sub(1)?),
        };
        match (order, which) {
            ("stop", Some(n)) if n < count => Some(Self::Stop(n)),
            ("start", Some(n)) if n < count => Some(Self::Start(n)),
            ("write", None) => Some(Self::Write),
            ("nodes", None) => Some(Self::Nodes),
            _ => None,
        }
    }
}

/// Lines that are typed, until there are no more. One is read ahead.
pub(super) fn typed() -> mpsc::Receiver<String> {
    let (given, lines) = mpsc::channel(1);
    // Reading cannot be interrupted: the thread ends with the program, or with its input.
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if given.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// The owner's side of the demo's storage nodes.
pub(super) struct Network {
    context: ContextSession,
    session: Session,
    clock: Clock,
    written: u32,
}

impl Network {
    pub(super) fn new(context: ContextSession, session: Session, clock: Clock) -> Self {
        Self {
            context,
            session,
            clock,
            written: 0,
        }
    }

    /// Does what was typed, and says how it went.
    pub(super) async fn obey(&mut self, line: &str, sandbox: &mut Sandbox) -> String {
        let count = sandbox.storage().count();
        let done = match Order::parse(line, count) {
            None if line.trim().is_empty() => return String::new(),
            None => Ok(format!("stop N, start N (1 to {count}), write, or nodes")),
            Some(Order::Stop(n)) => {
                sandbox.storage_mut().stop(n).await;
                Ok(format!("storage node {} is stopped", n + 1))
            }
            Some(Order::Start(n)) => self.start(n, sandbox).await,
            Some(Order::Write) => self.write(sandbox).await,
            Some(Order::Nodes) => self.nodes(sandbox).await,
        };
        done.unwrap_or_else(|failure| failure.to_string())
    }

    /// Starts a node again, and waits until it has as much as the others.
    async fn start(&self, n: usize, sandbox: &mut Sandbox) -> Result<String, Failure> {
        let failed = |error| Failure::of("the storage node does not start", &error);
        let started = sandbox.storage_mut().start_again(n).await;
        started.map_err(failed)?;
        let begun = Instant::now();
        let had = self.emails_at(n, sandbox).await?;
        loop {
            let mut most = 0;
            for other in (0..sandbox.storage().count()).filter(|other| *other != n) {
                if sandbox.storage().runs(other) {
                    most = most.max(self.emails_at(other, sandbox).await?);
                }
            }
            let has = self.emails_at(n, sandbox).await?;
            let (which, took) = (n + 1, begun.elapsed());
            if has >= most {
                let ms = took.as_millis();
                return Ok(format!(
                    "storage node {which} runs again: it had {had} emails, and {ms} ms later it has {has}"
                ));
            }
            if took > CATCH_UP {
                return Ok(format!(
                    "storage node {which} runs again and has {has} of {most} emails so far"
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Writes an email to as many nodes as a write needs: a quorum of three.
    async fn write(&mut self, sandbox: &Sandbox) -> Result<String, Failure> {
        self.written += 1;
        let (n, now) = (self.written, self.clock.now());
        let date = OffsetDateTime::from(now).format(&Rfc2822);
        let date = date.map_err(|error| Failure::of("the clock is wrong", &error))?;
        let unique = now.duration_since(std::time::UNIX_EPOCH);
        let unique = unique.unwrap_or_default().as_nanos();
        let away: Vec<String> = (0..sandbox.storage().count())
            .filter(|n| !sandbox.storage().runs(*n))
            .map(|n| (n + 1).to_string())
            .collect();
        let subject = match away.is_empty() {
            true => format!("email {n} of the demo"),
            false => format!("email {n} of the demo, without node {}", away.join(" and ")),
        };
        let text = format!(
            "From demo@example.org Thu Jan  1 00:00:00 1970\nFrom: Demo <demo@example.org>\n\
             To: you@example.org\nMessage-ID: <{unique}@demo.example.org>\nDate: {date}\n\
             Subject: {subject}\n\nWritten to a quorum.\n\n"
        );
        let mailbox = Mailbox::Memory(text.into());
        let owner = mailbox.owner(&["you@example.org".to_owned()])?;
        let begun = Instant::now();
        mailbox.import(owner, &self.session, true).await?;
        let ms = begun.elapsed().as_millis();
        Ok(format!("written in {ms} ms: {subject}"))
    }

    /// What each node has.
    async fn nodes(&self, sandbox: &Sandbox) -> Result<String, Failure> {
        let mut lines = Vec::new();
        for (n, url) in sandbox.storage().urls().enumerate() {
            let mut line = format!("storage node {}  {url}  ", n + 1);
            // A string takes everything.
            let _ = match sandbox.storage().runs(n) {
                true => write!(line, "{} emails", self.emails_at(n, sandbox).await?),
                false => write!(line, "stopped"),
            };
            lines.push(line);
        }
        Ok(lines.join("\n"))
    }

    /// How many emails one node has, asked without the others.
    async fn emails_at(&self, n: usize, sandbox: &Sandbox) -> Result<u64, Failure> {
        let failed = |error: &dyn std::error::Error| {
            Failure::of(format_args!("cannot ask storage node {}", n + 1), error)
        };
        let url = sandbox.storage().urls().nth(n).unwrap_or_default();
        let text = self.context.expose_json();
        let mut only: Value = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
        let named = only.pointer_mut("/contextConfig/services/databaseServer/endpointUri");
        if let Some(named) = named {
            *named = json!([format!("{url}/")]);
        }
        let only = zeroize::Zeroizing::new(only.to_string());
        let only = ContextSession::parse_json(only.as_bytes()).map_err(|error| failed(&error))?;
        let opening = Session::open(&only, sandbox.transport().clone(), self.clock.clone());
        let session = opening.await.map_err(|error| failed(&error))?;
        let name = DatabaseName::new(EMAILS).map_err(|error| failed(&error))?;
        let info = session.database(&name).info().await;
        let info = info.map_err(|error| failed(&error))?;
        Ok(info.map_or(0, |info| info.doc_count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_counted_from_one_and_nothing_is_guessed() {
        assert_eq!(Order::parse("stop 2\n", 3), Some(Order::Stop(1)));
        assert_eq!(Order::parse(" start 3 ", 3), Some(Order::Start(2)));
        assert_eq!(Order::parse("write", 3), Some(Order::Write));
        assert_eq!(Order::parse("nodes", 3), Some(Order::Nodes));
        for wrong in [
            "", "stop", "stop 0", "stop 4", "stop x", "stop 1 2", "write 1", "Stop 1", "quit",
        ] {
            assert_eq!(Order::parse(wrong, 3), None, "{wrong}");
        }
    }
}
