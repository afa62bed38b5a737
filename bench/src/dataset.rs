//! The data sets on a storage node: one person's encrypted records, and who may ask for them.

use std::path::Path;
use std::time::Duration;

use adyton_attest::Policy;
use adyton_client::attested_node::{AttestedNode, NodeCredential};
use adyton_client::clock::Clock;
use adyton_client::database_registry;
use adyton_client::did_resolver::StorageNodeResolver;
use adyton_client::endpoint::Reach;
use adyton_client::identity::open_context;
use adyton_client::record::{PreparedRecord, Save};
use adyton_client::session::Session;
use adyton_client::storage_node::StorageNode;
use adyton_client::transport::Transport;
use adyton_keys::account::Account;
use adyton_keys::record_cipher::RecordCipher;
use adyton_protocol::context::ContextName;
use adyton_protocol::database::{DatabaseName, Permissions};
use adyton_sandbox::cluster::NETWORK;
use http::Method;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Map, Value, json};

use crate::server::Server;
use crate::synthetic::{Words, chat, email};
use crate::{Outcome, floor};

/// Records of one schema, and the questions that are asked about them.
pub(crate) struct DataSet {
    pub(crate) title: &'static str,
    pub(crate) shortcut: &'static str,
    schema: String,
    database: &'static str,
    pub(crate) sort: Value,
    pub(crate) indexed: Value,
    pub(crate) range: Value,
    pub(crate) unindexed: Value,
    pub(crate) plaintext: u64,
    pub(crate) records: usize,
    /// What one thread needs for what no implementation can do without.
    pub(crate) floor: Duration,
}

/// A person with a context on a storage node.
pub(crate) struct Person {
    pub(crate) owner: NodeCredential,
    session: Session,
    _storage: Server,
}

impl Person {
    /// Makes the person, on a storage node of its own.
    pub(crate) async fn new(directory: &Path, clock: &Clock) -> Outcome<Self> {
        let storage = Server::storage(directory)?;
        let transport = Transport::new(Reach::AlsoThisMachine)?;
        let (account, _words) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
        let nodes = [StorageNode::new(
            transport.clone(),
            storage.said("url").parse()?,
        )?];
        let resolver = StorageNodeResolver::new(nodes.to_vec());
        let context = open_context(
            &account,
            NETWORK,
            &ContextName::vault(),
            &nodes,
            &resolver,
            clock,
        )
        .await?;
        Ok(Self {
            owner: NodeCredential::Session(context.expose_api_key()),
            session: Session::open(&context, transport, clock.clone()).await?,
            _storage: storage,
        })
    }

    /// Writes a data set, encrypted and signed as every client does.
    pub(crate) async fn write(&self, set: &mut DataSet) -> Outcome<()> {
        let session = &self.session;
        let mut words = Words::new(7);
        let make: fn(usize, &mut Words) -> Map<String, Value> = if set.database == "social_email" {
            email
        } else {
            chat
        };
        let database = session.database(&DatabaseName::new(set.database)?);
        database_registry::create_registered(&database, &Permissions::default()).await?;
        let cipher = database.cipher();
        let per_batch = if set.records > 10_000 { 2_000 } else { 50 };
        let mut feed = Vec::new();
        let mut batch = Vec::new();
        for n in 0..set.records {
            let record = PreparedRecord::new(
                make(n, &mut words),
                Save::Insert,
                Some(&set.schema),
                session,
            )?;
            set.plaintext += record.text()?.len() as u64;
            let payload = cipher.seal(&record.text()?, &mut OsRng.unwrap_err());
            feed.extend_from_slice(
                format!("{{\"id\":\"x\",\"doc\":{{\"payload\":\"{payload}\"}}}}\n").as_bytes(),
            );
            batch.push(record);
            if batch.len() == per_batch || n + 1 == set.records {
                for written in database.put_all(&batch, &cipher).await? {
                    written?;
                }
                batch.clear();
            }
        }
        set.floor = floor::measure(
            &feed,
            &RecordCipher::of(&session.keyring().database_key(database.name())),
        );
        Ok(())
    }
}

impl DataSet {
    /// Mail: few and large.
    pub(crate) fn emails(records: usize) -> Self {
        Self {
            title: "emails, 61 KB each",
            shortcut: "social-email",
            schema: schema("social/email"),
            database: "social_email",
            sort: json!([{ "sentAt": "desc" }]),
            indexed: json!({ "fromEmail": "sender7@example.com" }),
            range: json!({ "sentAt": { "$gte": "2021", "$lt": "2023" } }),
            unindexed: json!({ "messageText": { "$regex": "zzzzqqq" } }),
            plaintext: 0,
            records,
            floor: Duration::ZERO,
        }
    }

    /// Chats: many and small.
    pub(crate) fn chats(records: usize) -> Self {
        Self {
            title: "chat messages, 300 B each",
            shortcut: "social-chat-message",
            schema: schema("social/chat/message"),
            database: "social_chat_message",
            sort: json!([{ "sentAt": "desc" }]),
            indexed: json!({ "groupId": "group-7", "sentAt": { "$gte": "2024" } }),
            range: json!({ "sentAt": { "$gte": "2020-03", "$lt": "2020-07" } }),
            unindexed: json!({ "messageText": { "$regex": "zzzzqqq" } }),
            plaintext: 0,
            records,
            floor: Duration::ZERO,
        }
    }

    /// The path of a verb of the REST API.
    pub(crate) fn path(&self, verb: &str) -> String {
        format!("/api/rest/v1/ds/{verb}/{}", self.shortcut)
    }

    /// The ids of some records, asked of a node.
    pub(crate) async fn ids(
        &self,
        node: &mut AttestedNode,
        owner: &NodeCredential,
    ) -> Outcome<Vec<String>> {
        let some = json!({ "query": {}, "options": { "limit": 500, "fields": ["_id"] } });
        let answer = node
            .send(Method::POST, &self.path("query"), Some(owner), Some(&some))
            .await?
            .json()?;
        let items = answer.get("items").and_then(Value::as_array);
        Ok(items
            .into_iter()
            .flatten()
            .filter_map(|item| Some(item.get("_id")?.as_str()?.to_owned()))
            .collect())
    }
}

/// A connection whose evidence was appraised.
pub(crate) async fn connect(server: &Server, clock: &Clock) -> Outcome<AttestedNode> {
    let policy = Policy::from_toml(server.said("policy"))?;
    Ok(AttestedNode::connect(server.said("url"), &policy, clock).await?)
}

fn schema(path: &str) -> String {
    format!("https://common.schemas.verida.io/{path}/v0.1.0/schema.json")
}
