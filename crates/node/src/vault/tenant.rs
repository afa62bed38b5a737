//! One tenant in memory: its session and its databases. Dropping it ends their tasks and wipes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adyton_client::session::Session;
use adyton_keys::context_session::{ContextSession, InvalidSession};
use adyton_protocol::database::DatabaseName;
use tokio::sync::{OnceCell, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::database_task::{self, Budgets, Command, Published};
use super::error::VaultError;
use super::loaded::LoadedDatabase;
use super::loading::{LoadedSoFar, Progress};
use super::schemas;
use super::vault::Surroundings;
use crate::memory::Budget;

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
    /// What its own schemas are, once that was asked.
    schemas: Mutex<Option<schemas::Read>>,
    /// Held while that is found out: by one at a time, for all who wait.
    reading_schemas: tokio::sync::Mutex<()>,
    last_used: Mutex<Instant>,
    /// When somebody last took what a watch told.
    last_watched: Mutex<Option<Instant>>,
}

/// Something that was not done, or is not known to be.
pub(super) enum NotDone {
    /// The database's task had ended before it took the command: nothing was begun.
    NotTaken(Command),
    /// It was begun and failed.
    Failed(VaultError),
}

/// A database's task. One task owns one database: it loads, follows and writes it.
struct Running {
    state: watch::Receiver<State>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
    progress: Arc<Progress>,
    last_used: Instant,
}

impl Running {
    /// Whether its task has given up; the next caller starts another.
    fn has_failed(&self) -> bool {
        self.task.is_finished() || matches!(&*self.state.borrow(), State::Failed(_))
    }

    /// Whether a caller waits for it to load, or for a change.
    fn is_waited_for(&self) -> bool {
        self.commands.strong_count() > 1 || matches!(&*self.state.borrow(), State::Loading)
    }
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
            schemas: Mutex::default(),
            reading_schemas: tokio::sync::Mutex::default(),
            last_used: Mutex::new(Instant::now()),
            last_watched: Mutex::default(),
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

    /// Notes that somebody takes what a watch of this database tells: it is kept, but gives way to who asks for more.
    pub(super) fn is_watched(&self, name: &DatabaseName) {
        let now = Instant::now();
        *self
            .last_watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(now);
        if let Some(running) = self.lock().get_mut(name) {
            running.last_used = now;
        }
    }

    /// For how long nobody has asked, and nobody was told.
    pub(super) fn unheard_for(&self) -> Duration {
        let watched = *self
            .last_watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        watched
            .map_or(Duration::MAX, |at| at.elapsed())
            .min(self.idle_for())
    }

    /// Drops the databases that nobody asked for so long, while others may be in use. Says whether there were any.
    pub(super) fn forget_idle(&self, idle: Duration) -> bool {
        let mut databases = self.lock();
        let before = databases.len();
        databases
            .retain(|_, running| running.is_waited_for() || running.last_used.elapsed() < idle);
        databases.len() < before
    }

    /// What it holds, in bytes.
    pub(super) fn holds(&self) -> usize {
        self.budgets.budget.used()
    }

    /// Whether so many bytes more are beyond what one tenant may hold.
    pub(super) fn lacks(&self, bytes: usize) -> bool {
        let budget = &self.budgets.budget;
        budget.used().saturating_add(bytes) > budget.limit()
    }

    /// How far the load of a database is.
    pub(super) fn so_far(&self, name: &DatabaseName) -> LoadedSoFar {
        let databases = self.lock();
        let progress = databases.get(name).map(|running| running.progress.now());
        progress.unwrap_or_default()
    }

    /// The database in memory. The first caller starts the load, all wait for the same one. When that one fails at
    /// the storage node, it may have been for the credential of the first caller: the others try with their own. And it
    /// may have been for the node: where the context lies on several, another one is turned to.
    pub(super) async fn loaded(
        &self,
        name: &DatabaseName,
        credential: impl Fn() -> Result<Arc<ContextSession>, InvalidSession>,
        around: &Arc<Surroundings>,
    ) -> Result<Arc<LoadedDatabase>, VaultError> {
        let (mut state, mut may_try_again) = self.state(name, &credential, around)?;
        let mut may_turn = true;
        loop {
            let now = state.borrow_and_update().clone();
            match now {
                State::Ready(database) => return Ok(database),
                State::Failed(VaultError::Storage(_) | VaultError::LoadTimeout)
                    if may_try_again =>
                {
                    (state, _) = self.state(name, &credential, around)?;
                    may_try_again = false;
                }
                State::Failed(error)
                    if may_turn && error.is_of_one_node() && self.has_other_nodes() =>
                {
                    (state, _) = self.state(name, &credential, around)?;
                    may_turn = false;
                }
                State::Failed(error) => return Err(error),
                State::Loading => state.changed().await.map_err(|_| VaultError::Stopped)?,
            }
        }
    }

    /// Hands a command to the database's task and waits for its outcome.
    pub(super) async fn order<T>(
        &self,
        name: &DatabaseName,
        command: Command,
        outcome: &mut oneshot::Receiver<Result<T, VaultError>>,
    ) -> Result<T, NotDone> {
        let commands = match self.lock().get(name) {
            Some(running) => running.commands.clone(),
            None => return Err(NotDone::NotTaken(command)),
        };
        commands
            .send(command)
            .await
            .map_err(|unsent| NotDone::NotTaken(unsent.0))?;
        let done = outcome.await.unwrap_or(Err(VaultError::Stopped));
        self.touch();
        done.map_err(NotDone::Failed)
    }

    /// The state of a database, and whether somebody else had its load started.
    fn state(
        &self,
        name: &DatabaseName,
        credential: impl FnOnce() -> Result<Arc<ContextSession>, InvalidSession>,
        around: &Arc<Surroundings>,
    ) -> Result<(watch::Receiver<State>, bool), VaultError> {
        let mut databases = self.lock();
        if let Some(running) = databases.get_mut(name) {
            if !running.has_failed() {
                running.last_used = Instant::now();
                return Ok((running.state.clone(), true));
            }
            databases.remove(name);
            // The caller may have logged in anew since: what failed may have been the old session.
            *self.open_session() = OpenSession::default();
        }
        if databases.len() >= around.limits.databases_per_tenant {
            databases.retain(|_, running| !running.has_failed());
        }
        if databases.len() >= around.limits.databases_per_tenant {
            return Err(VaultError::Overloaded);
        }
        let credential = credential()?;
        let (publish, state) = watch::channel(State::Loading);
        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let progress = Arc::new(Progress::default());
        let task = database_task::run(
            name.clone(),
            credential,
            self.open_session().clone(),
            self.budgets.clone(),
            Arc::clone(around),
            Published {
                state: publish,
                progress: Arc::clone(&progress),
            },
            queue,
        );
        let running = Running {
            state: state.clone(),
            commands,
            task: tokio::spawn(task),
            progress,
            last_used: Instant::now(),
        };
        databases.insert(name.clone(), running);
        Ok((state, false))
    }

    /// Whether it holds or loads anything. A tenant whose loads all failed does not.
    pub(super) fn is_in_use(&self) -> bool {
        self.lock().values().any(|running| !running.has_failed())
    }

    /// The session with the storage node, if one was opened.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.open_session().get().cloned()
    }

    fn has_other_nodes(&self) -> bool {
        self.session()
            .is_some_and(|session| session.has_other_nodes())
    }

    /// What was read of its own schemas.
    pub(super) fn schemas(&self) -> MutexGuard<'_, Option<schemas::Read>> {
        self.schemas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody reads its own schemas, and keeps others from it.
    pub(super) async fn turn_to_read_schemas(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.reading_schemas.lock().await
    }

    /// What counts what it holds.
    pub(super) fn budget(&self) -> &Budget {
        &self.budgets.budget
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
