//! Schemas as a directory: which database holds the records of a schema.

use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::{SchemaDirectory, SchemaUri};

use super::SchemaSet;

impl SchemaDirectory for SchemaSet {
    fn database_of(&self, schema: &SchemaUri) -> Option<DatabaseName> {
        DatabaseName::new(self.get(schema.as_str())?.database()?).ok()
    }

    fn may_be_own(&self, schema: &SchemaUri) -> bool {
        self.own_name(schema).is_ok()
    }
}
