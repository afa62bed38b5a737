//! The databases of all accounts, wherever they are: files of this node, or a CouchDB. What the middleware asks of either.
//!
//! Guarantees: rights are judged here, by the same typed rules, whoever keeps the data.

use std::sync::Arc;

use adyton_protocol::database::DatabaseHash;
use serde_json::Value;
use tokio::sync::watch;

use crate::access::{Admission, Peer, Permit, Principal};
use crate::clock::Clock;
use crate::couch::databases::CouchDatabases;
use crate::database_record::DatabaseRecord;
use crate::databases::{DatabaseError, Databases};
use crate::peers::PeerRow;
use crate::quota::{Need, Room, Usage};
use crate::store::StoreError;
use crate::store::database::DatabaseFile;
use crate::store::node::NodeStore;

/// All databases of the node, and who may do what to them.
pub(crate) struct Keeper {
    node: NodeStore,
    clock: Clock,
    kept: Kept,
}

/// Who keeps the databases.
pub(crate) enum Kept {
    Embedded(Arc<Databases>),
    Couch(Arc<CouchDatabases>),
}

impl Keeper {
    pub(crate) fn new(node: NodeStore, clock: Clock, kept: Kept) -> Self {
        Self { node, clock, kept }
    }

    /// The CouchDB, when it is one: the data path goes on there.
    pub(crate) fn couch(&self) -> Option<&Arc<CouchDatabases>> {
        match &self.kept {
            Kept::Embedded(_) => None,
            Kept::Couch(couch) => Some(couch),
        }
    }

    /// What `principal` may do to a database at this moment.
    pub(crate) async fn authorise(
        &self,
        principal: &Principal,
        hash: DatabaseHash,
    ) -> Result<Permit, DatabaseError> {
        match &self.kept {
            Kept::Embedded(files) => files.authorise(principal, hash).await,
            Kept::Couch(couch) => {
                let record = match principal {
                    // Nothing is looked up for somebody without a credential.
                    Principal::Anonymous => None,
                    Principal::Public | Principal::User(_) | Principal::Peer(_) => {
                        couch.database(hash).await?.map(Arc::new)
                    }
                };
                judged(&self.node, principal, record, &self.clock).await
            }
        }
    }

    /// Makes the database of `record` if it is not there, and gives it the record's permissions. Idempotent.
    pub(crate) async fn create(
        &self,
        record: DatabaseRecord,
        now: u64,
    ) -> Result<(), DatabaseError> {
        match &self.kept {
            Kept::Embedded(files) => files.create(record, now).await,
            Kept::Couch(couch) => couch.create(&record).await,
        }
    }

    /// Gives an existing database other permissions. False when there is no such database.
    pub(crate) async fn update(&self, record: DatabaseRecord) -> Result<bool, DatabaseError> {
        match &self.kept {
            Kept::Embedded(files) => files.update(record).await,
            Kept::Couch(couch) => couch.update(&record).await,
        }
    }

    /// Deletes a database with everything in it. False when there is no such database.
    pub(crate) async fn delete(
        &self,
        owner: &str,
        hash: DatabaseHash,
    ) -> Result<bool, DatabaseError> {
        match &self.kept {
            Kept::Embedded(files) => files.delete(owner, hash).await,
            Kept::Couch(couch) => couch.delete(owner, hash).await,
        }
    }

    /// Forgets what is left of an account when its databases are gone: other nodes' rights, and its registry.
    pub(crate) async fn end_context(&self, account: &str) -> Result<(), DatabaseError> {
        self.node.remove_peers_of(account.to_owned()).await?;
        match &self.kept {
            Kept::Embedded(_) => Ok(()),
            Kept::Couch(couch) => couch.end_context(account).await,
        }
    }

    /// Makes registered databases that a CouchDB lacks; of files only those that are lacking are named.
    pub(crate) async fn restore(&self, account: String) -> Result<(), DatabaseError> {
        match &self.kept {
            Kept::Embedded(files) => files.look_for_files(account).await,
            Kept::Couch(couch) => couch.restore(&account).await,
        }
    }

    /// Whose a database is; none when there is none.
    pub(crate) async fn owner(&self, hash: DatabaseHash) -> Result<Option<String>, StoreError> {
        let record = match &self.kept {
            Kept::Embedded(_) => self.node.database(hash.to_string()).await?,
            Kept::Couch(couch) => couch.database(hash).await?,
        };
        Ok(record.map(|record| record.owner))
    }

    /// The databases of an account.
    pub(crate) async fn of_account(
        &self,
        account: String,
    ) -> Result<Vec<DatabaseRecord>, StoreError> {
        match &self.kept {
            Kept::Embedded(files) => files.of_account(account).await,
            Kept::Couch(couch) => couch.of_account(&account).await,
        }
    }

    /// One database of an account.
    pub(crate) async fn find(
        &self,
        account: &str,
        hash: DatabaseHash,
    ) -> Result<Option<DatabaseRecord>, StoreError> {
        match &self.kept {
            Kept::Embedded(files) => files.find(account, hash).await,
            Kept::Couch(couch) => couch.find(account, hash).await,
        }
    }

    /// What `GET /{db}` tells of a database of the caller's own account; none when there is none.
    pub(crate) async fn info(
        &self,
        record: &DatabaseRecord,
    ) -> Result<Option<Value>, DatabaseError> {
        match &self.kept {
            Kept::Embedded(files) => {
                let file = files.own_file(record).await?;
                Ok(Some(crate::api::info(record, file).await?))
            }
            Kept::Couch(couch) => Ok(couch.info(record).await?),
        }
    }

    /// What an account keeps, measured now.
    pub(crate) async fn usage(&self, account: &str) -> Result<Usage, StoreError> {
        match &self.kept {
            Kept::Embedded(files) => files.usage(account).await,
            Kept::Couch(couch) => couch.usage(account).await,
        }
    }

    /// Room for so many bytes in the account of a database's owner. To be kept until they are written.
    pub(crate) async fn room(
        &self,
        permit: &Permit,
        need: impl Into<Need>,
    ) -> Result<Room, DatabaseError> {
        match &self.kept {
            Kept::Embedded(files) => files.room(permit, need.into()).await,
            Kept::Couch(couch) => couch.room(permit, need.into()).await,
        }
    }

    // The data path of files, which nobody walks in front of a CouchDB: there requests go on (`api/passing`)

    /// The open file of a database that the caller may read.
    pub(crate) async fn file(&self, permit: &Permit) -> Result<Arc<DatabaseFile>, DatabaseError> {
        self.files()?.file(permit).await
    }

    /// Forgets what a database need not remember, and gives unused bytes back.
    pub(crate) async fn compact(&self, permit: &Permit) -> Result<(), DatabaseError> {
        self.files()?.compact(permit).await
    }

    /// The pulse of a database that the caller may read: changes whenever there is something new.
    pub(crate) fn pulse(&self, permit: &Permit) -> Result<watch::Receiver<u64>, DatabaseError> {
        self.files()?.pulse(permit)
    }

    /// The open file of a database of this node's own.
    pub(crate) async fn own_file(
        &self,
        record: &DatabaseRecord,
    ) -> Result<Arc<DatabaseFile>, DatabaseError> {
        self.files()?.own_file(record).await
    }

    /// The files, when they are this node's.
    pub(crate) fn files(&self) -> Result<&Arc<Databases>, StoreError> {
        match &self.kept {
            Kept::Embedded(files) => Ok(files),
            Kept::Couch(_) => Err(StoreError::Closed),
        }
    }
}

/// What `principal` may do, by the record of the database that he asks for. Another node may what its day's admission says.
pub(crate) async fn judged(
    node: &NodeStore,
    principal: &Principal,
    record: Option<Arc<DatabaseRecord>>,
    clock: &Clock,
) -> Result<Permit, DatabaseError> {
    let (Principal::Peer(peer), Some(found)) = (principal, &record) else {
        let now = clock.unix_seconds();
        return Ok(Permit::grant(principal.clone(), record, now)?);
    };
    let row = node.peer(peer.name.clone(), found.owner.clone());
    let row = row.await?;
    let now = clock.unix_seconds();
    let let_in = |row: &PeerRow| now < row.until && row.password == peer.password;
    let principal = Principal::Peer(Peer {
        admission: match row.filter(let_in) {
            Some(PeerRow { until, .. }) => Admission::Granted { until },
            None => Admission::Refused,
        },
        ..peer.clone()
    });
    Ok(Permit::grant(principal, record, now)?)
}
