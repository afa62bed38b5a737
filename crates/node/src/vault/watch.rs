//! A watch: what changes in a permit's resource, told for as long as its reader reads and its grant lives.
//!
//! Guarantees: nothing is kept for a reader beside its position, so one that is slow costs nothing and, when what it missed
//! is forgotten, is told to begin again; a grant that ends, a tenant that is evicted and a node that shuts down end the
//! watch at once; a watch holds neither the data nor a credential while it waits.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use adyton_couch::selector::Selector;
use adyton_protocol::database::DatabaseName;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::VaultError;
use super::loaded::LoadedDatabase;
use super::tenant::Tenant;
use super::vault::Vault;
use super::watch_seats::WatchSeat;
use crate::authz::{Permit, Read};
use crate::grants::{GrantError, GrantLife};
use crate::memory::{Gap, Since, Told, View, Watching};
use crate::receipts::{Accessor, Act, Kind, Unwritable};

/// How long a watch is silent before it gives a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Until a database that is just being changed is read again.
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// Where a watch begins, as its reader says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// With the next change.
    Now,
    /// With the records that are there.
    Start,
    /// Behind the change that came with this cursor.
    After(String),
}

/// A watch. Ends when it is dropped.
pub struct Watch {
    database: Weak<LoadedDatabase>,
    tenant: Weak<Tenant>,
    name: DatabaseName,
    view: View,
    selector: Selector,
    watching: Watching,
    /// The beginning is still to be told: whether the reader must begin anew.
    opening: Option<bool>,
    changed: watch::Receiver<()>,
    /// Of a schema of the user's own: ready when what their schemas mean may be something else.
    schemas: Option<watch::Receiver<()>>,
    life: Option<GrantLife>,
    /// For the receipts of what is told; none for the owner.
    accessor: Option<(Accessor, [u8; 32])>,
    closing: CancellationToken,
    heartbeat: Instant,
    _seat: WatchSeat,
}

/// What a watch says next.
#[derive(Debug)]
pub enum Word {
    /// The first: where it begins.
    Begun(Option<String>),
    /// What was asked for cannot be told, because it is forgotten: ask for everything again. It goes on from here.
    Resync(Option<String>),
    /// Changes, each with the cursor behind it.
    Told(Vec<(Told, Option<String>)>),
    /// Nothing has happened.
    Silence(Option<String>),
    /// The last: why it ends.
    Ended(Ended),
}

/// Why a watch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The data are no longer in memory, or what their name means may have changed: watch again, and ask for everything again.
    Unloaded,
    /// The grant.
    Grant(GrantError),
    /// The node shuts down.
    Draining,
    /// There is no memory to go on.
    Overloaded,
    /// What is told could not be written down.
    Unwritable,
}

impl Vault {
    /// Watches what a selector takes within the permit's resource.
    pub async fn watch(
        &self,
        permit: &Permit<Read>,
        selector: Selector,
        beginning: Beginning,
    ) -> Result<Watch, VaultError> {
        let life = permit.life();
        let grant = life.as_ref().map(GrantLife::id);
        let seat = self.watch_seat(permit.tenant(), grant)?;
        let schemas = self.schemas_watched(permit).await?;
        let (database, receipt) = self.begin(permit, Act::Watch(&selector)).await?;
        let (weak, changed) = (Arc::downgrade(&database), database.changed());
        let view = permit.view().clone();
        let is_quick = database
            .try_documents()
            .is_some_and(|documents| documents.is_quick(&view, &selector, &[]));
        let begun = self.compute(permit.tenant(), database, is_quick, move |database| {
            let since = match &beginning {
                Beginning::Now => Ok(Since::Now),
                Beginning::Start => Ok(Since::Start),
                Beginning::After(cursor) => {
                    let position = database.cursors().open(cursor);
                    position.map(Since::After).ok_or(Gap)
                }
            };
            let documents = database.documents();
            let watching = match since {
                Ok(since) => documents.watch(&view, &selector, since)?,
                Err(Gap) => Err(Gap),
            };
            let is_known = watching.is_ok();
            let watching = match watching {
                Ok(watching) => watching,
                Err(Gap) => documents
                    .watch(&view, &selector, Since::Now)?
                    .map_err(|Gap| VaultError::Stopped)?,
            };
            drop(documents);
            Ok((watching, is_known, view, selector))
        });
        let (watching, is_known, view, selector) = begun.await?;
        Ok(Watch {
            database: weak,
            tenant: self.in_memory(permit.tenant()).unwrap_or_default(),
            name: permit.resource().database().clone(),
            view,
            selector,
            watching,
            opening: Some(!is_known),
            changed,
            schemas,
            life,
            accessor: receipt.into_accessor(),
            closing: self.closing(),
            heartbeat: Instant::now() + HEARTBEAT,
            _seat: seat,
        })
    }
}

impl Watch {
    /// What comes next. After [`Word::Ended`] comes nothing that is worth hearing.
    pub async fn next(&mut self) -> Word {
        let word = self.word().await;
        self.heartbeat = Instant::now() + HEARTBEAT;
        // Whoever waits here has taken what came before.
        if let Some(tenant) = self.tenant.upgrade() {
            tenant.is_watched(&self.name);
            if self.schemas.is_some() {
                // They are needed for as long as what they name is.
                tenant.is_watched(&DatabaseName::own_schemas());
            }
        }
        word
    }

    /// Whether it has ended, or will at the next word.
    pub fn has_ended(&self) -> bool {
        self.end().is_some() || self.database.strong_count() == 0
    }

    async fn word(&mut self) -> Word {
        loop {
            if let Some(ended) = self.end() {
                return Word::Ended(ended);
            }
            let Some(database) = self.database.upgrade() else {
                return Word::Ended(Ended::Unloaded);
            };
            if let Some(must_begin_anew) = self.opening.take() {
                let cursor = self.cursor(&database);
                return match must_begin_anew {
                    true => Word::Resync(cursor),
                    false => Word::Begun(cursor),
                };
            }
            match self.look(&database) {
                Look::Found(told) => {
                    let seal = |position| database.cursors().seal(position);
                    self.note(told.len());
                    let told = told.into_iter();
                    let told = told.map(|(told, position)| (told, position.and_then(seal)));
                    return Word::Told(told.collect());
                }
                Look::Lost => return Word::Resync(self.cursor(&database)),
                Look::NoRoom => return Word::Ended(Ended::Overloaded),
                Look::Busy => tokio::time::sleep(BETWEEN_TRIES).await,
                // Others have their turn first.
                Look::More => tokio::task::yield_now().await,
                Look::Nothing => {
                    // Not held while waiting: it would outlive its tenant.
                    drop(database);
                    if let Some(word) = self.wait().await {
                        return word;
                    }
                }
            }
        }
    }

    /// Waits for a change; a word if something else happens.
    async fn wait(&mut self) -> Option<Word> {
        let life = async {
            match &self.life {
                Some(life) => life.ended().await,
                None => std::future::pending().await,
            }
        };
        let schemas = async {
            match &mut self.schemas {
                // Whether they changed or went: what they are now is for the next watch to ask.
                Some(schemas) => drop(schemas.changed().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = schemas => Some(Word::Ended(Ended::Unloaded)),
            changed = self.changed.changed() => match changed {
                Ok(()) => None,
                Err(_) => Some(Word::Ended(Ended::Unloaded)),
            },
            error = life => Some(Word::Ended(Ended::Grant(error))),
            () = self.closing.cancelled() => Some(Word::Ended(Ended::Draining)),
            () = tokio::time::sleep_until(self.heartbeat) => {
                let database = self.database.upgrade()?;
                Some(Word::Silence(self.cursor(&database)))
            }
        }
    }

    /// Whether the right to watch has ended. Asked before anything is told.
    fn end(&self) -> Option<Ended> {
        if self.closing.is_cancelled() {
            return Some(Ended::Draining);
        }
        if let Some(error) = self.life.as_ref().and_then(GrantLife::end) {
            return Some(Ended::Grant(error));
        }
        let schemas = self.schemas.as_ref();
        if schemas.is_some_and(|schemas| !matches!(schemas.has_changed(), Ok(false))) {
            return Some(Ended::Unloaded);
        }
        let (accessor, _) = self.accessor.as_ref()?;
        accessor
            .may_go_on()
            .err()
            .map(|Unwritable| Ended::Unwritable)
    }

    fn look(&mut self, database: &LoadedDatabase) -> Look {
        let Some(documents) = database.try_documents() else {
            return Look::Busy;
        };
        match documents.tell(&mut self.watching, &self.view, &self.selector) {
            Ok(Ok(tidings)) if !tidings.told.is_empty() => Look::Found(tidings.told),
            Ok(Ok(tidings)) if tidings.more => Look::More,
            Ok(Ok(_)) => Look::Nothing,
            Ok(Err(Gap)) => match documents.watch(&self.view, &self.selector, Since::Now) {
                Ok(Ok(anew)) => {
                    self.watching = anew;
                    Look::Lost
                }
                Ok(Err(Gap)) | Err(_) => Look::NoRoom,
            },
            Err(_) => Look::NoRoom,
        }
    }

    /// Notes what is told, before it is.
    fn note(&self, records: usize) {
        if let Some((accessor, digest)) = &self.accessor {
            let session = || self.tenant.upgrade()?.session();
            accessor.note(Kind::Watch, *digest, records, session);
        }
    }

    fn cursor(&self, database: &LoadedDatabase) -> Option<String> {
        database.cursors().seal(self.watching.position()?)
    }
}

enum Look {
    Found(Vec<(Told, Option<u64>)>),
    /// Nothing for this reader so far, and more to look at.
    More,
    Nothing,
    /// A change is waiting or under way.
    Busy,
    /// What is to be told is forgotten.
    Lost,
    NoRoom,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch(..)")
    }
}
