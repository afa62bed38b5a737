//! One tenant in memory: its session and its databases. Dropping it ends their tasks and wipes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adyton_client::session::Session;
use adyton_keys::context_session::{ContextSession, InvalidSession};
use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::SchemaUri;
use tokio::sync::{OnceCell, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::database_task::{self, Budgets, Change, Command, Saved};
use super::error::VaultError;
use super::loaded::LoadedDatabase;
use super::vault::Surroundings;

/// Writes that wait for one database. When it is full, writers wait in turn.
const COMMAND_QUEUE: usize = 64;

/// The state of a database, published by its task.
#[derive(Debug, Clone)]
pub(super) enum State {
    Loading,
    Ready(Arc<LoadedDatabase>),
    /// The task has ended; the next caller starts another.
    Failed(VaultError),
}

/// The tenant's session with its storage node, opened by the first load that needs it.
pub(super) type OpenSession = Arc<OnceCell<Arc<Session>>>;

/// One tenant in memory.
pub(super) struct Tenant {
    budgets: Budgets,
    session: Mutex<OpenSession>,
    databases: Mutex<HashMap<DatabaseName, Running>>,
    last_used: Mutex<Instant>,
}

/// A database's task. One task owns one database: it loads, follows and writes it.
struct Running {
    state: watch::Receiver<State>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tenant {
    pub(super) fn new(budgets: Budgets) -> Self {
        Self {
            budgets,
            session: Mutex::default(),
            databases: Mutex::default(),
            last_used: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn touch(&self) {
        *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn idle_for(&self) -> Duration {
        self.last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }

    /// The database in memory. The first caller starts the load, all wait for the same one.
    pub(super) async fn loaded(
        &self,
        name: &DatabaseName,
        credential: impl FnOnce() -> Result<Arc<ContextSession>, InvalidSession>,
        around: &Arc<Surroundings>,
    ) -> Result<Arc<LoadedDatabase>, VaultError> {
        let mut state = self.state(name, credential, around)?;
        loop {
            let now = state.borrow_and_update().clone();
            match now {
                State::Ready(database) => return Ok(database),
                State::Failed(error) => return Err(error),
                State::Loading => state.changed().await.map_err(|_| VaultError::Stopped)?,
            }
        }
    }

    /// Hands a change to the database's task and waits until it is durable.
    pub(super) async fn change(
        &self,
        name: &DatabaseName,
        schema: Option<SchemaUri>,
        change: Change,
    ) -> Result<Saved, VaultError> {
        let commands = match self.lock().get(name) {
            Some(running) => running.commands.clone(),
            None => return Err(VaultError::Stopped),
        };
        let (reply, answer) = oneshot::channel();
        let command = Command {
            schema,
            change,
            reply,
        };
        commands
            .send(command)
            .await
            .map_err(|_| VaultError::Stopped)?;
        let saved = answer.await.map_err(|_| VaultError::Stopped)?;
        self.touch();
        saved
    }

    fn state(
        &self,
        name: &DatabaseName,
        credential: impl FnOnce() -> Result<Arc<ContextSession>, InvalidSession>,
        around: &Arc<Surroundings>,
    ) -> Result<watch::Receiver<State>, VaultError> {
        let mut databases = self.lock();
        if let Some(running) = databases.get(name) {
            let failed = matches!(&*running.state.borrow(), State::Failed(_));
            if !failed && !running.task.is_finished() {
                return Ok(running.state.clone());
            }
            databases.remove(name);
            // The caller may have logged in anew since: what failed may have been the old session.
            *self.open_session() = OpenSession::default();
        }
        if databases.len() >= around.limits.databases_per_tenant {
            return Err(VaultError::Overloaded);
        }
        let credential = credential()?;
        let (publish, state) = watch::channel(State::Loading);
        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let task = database_task::run(
            name.clone(),
            credential,
            self.open_session().clone(),
            self.budgets.clone(),
            Arc::clone(around),
            publish,
            queue,
        );
        let running = Running {
            state: state.clone(),
            commands,
            task: tokio::spawn(task),
        };
        databases.insert(name.clone(), running);
        Ok(state)
    }

    /// Whether it holds or loads anything. A tenant whose loads all failed does not.
    pub(super) fn is_in_use(&self) -> bool {
        let in_use = |running: &Running| {
            !running.task.is_finished() && !matches!(&*running.state.borrow(), State::Failed(_))
        };
        self.lock().values().any(in_use)
    }

    fn open_session(&self) -> MutexGuard<'_, OpenSession> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DatabaseName, Running>> {
        self.databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
