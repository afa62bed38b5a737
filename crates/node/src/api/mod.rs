//! The REST API under `/api/rest/v1`, and the health routes. Each handler names the permit, calls the
//! vault and shapes the answer; none holds a key.

mod caller;
mod health;
mod info;
mod json_body;
mod path;
mod problem;
mod query_body;
mod record_stream;
mod records;
mod routes;
mod tokens;

use std::sync::Arc;

use adyton_client::clock::Clock;
use adyton_client::schema::SchemaSet;

pub use problem::ApiProblem;
pub use routes::{ROUTES, Route, router};

use crate::config::Config;
use crate::grants::Grants;
use crate::vault::Vault;

/// What the handlers share.
#[derive(Debug)]
pub struct Api {
    pub(crate) vault: Arc<Vault>,
    pub(crate) grants: Grants,
    pub(crate) schemas: Arc<SchemaSet>,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    /// What a person should be told about the TEE, for `/info/status`.
    pub(crate) tee: String,
}

impl Api {
    /// The API over a vault.
    pub fn new(
        vault: Arc<Vault>,
        schemas: Arc<SchemaSet>,
        config: Config,
        clock: Clock,
        tee: String,
    ) -> Arc<Self> {
        let grants = Grants::new(clock.clone());
        Arc::new(Self {
            vault,
            grants,
            schemas,
            config,
            clock,
            tee,
        })
    }
}
