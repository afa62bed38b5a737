//! Holding records to their schema: off the threads of the async runtime, unless it is known to be quick.
//!
//! Guarantees: what a user's own schema takes is computed in the user's turn, on threads that step back, and is limited for all records
//! of a request together. Refuses to know: what is written, and where.

use std::hash::Hash;
use std::sync::Arc;

use adyton_client::schema::{InvalidRecord, MAX_WORK, Schema, SchemaSet};
use adyton_protocol::schema::SchemaUri;
use serde_json::Value;

use crate::vault::error::VaultError;
use crate::vault::schedule::Schedule;

/// Most bytes of records that are held to a published schema at once: some milliseconds.
const QUICK_BYTES: usize = 64 * 1024;

/// Records, and what is wrong with each.
pub(super) type Checked<T> = Vec<(T, Option<InvalidRecord>)>;

/// Holds the records of one request to a schema. `bytes` is their length together.
pub(super) async fn check<K: Clone + Eq + Hash + Send + 'static, T: Send + 'static>(
    turns: (&Schedule<K>, &K),
    schemas: &Arc<SchemaSet>,
    schema: &SchemaUri,
    records: Vec<T>,
    bytes: usize,
    value_of: impl Fn(&T) -> Value + Send + 'static,
) -> Result<Checked<T>, VaultError> {
    let is_own = schemas.get(schema.as_str()).is_some_and(Schema::is_own);
    if !is_own && bytes <= QUICK_BYTES {
        return hold(schemas, schema, records, value_of);
    }
    let (schedule, key) = turns;
    let (schemas, schema) = (Arc::clone(schemas), schema.clone());
    schedule
        .compute(key, move || hold(&schemas, &schema, records, value_of))
        .await?
}

fn hold<T>(
    schemas: &SchemaSet,
    schema: &SchemaUri,
    records: Vec<T>,
    value_of: impl Fn(&T) -> Value,
) -> Result<Checked<T>, VaultError> {
    // The published set compiles (a test holds that). A schema of the user's own that does not was not put through this node.
    let validator = schemas
        .validator(schema.as_str())
        .map_err(|_| VaultError::NotFound)?;
    let mut left = MAX_WORK;
    let checked = records.into_iter().map(|record| {
        let value = value_of(&record);
        let invalid = validator.validate_within(&value, &mut left).err();
        (record, invalid)
    });
    Ok(checked.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::lanes::Turns;
    use serde_json::json;
    use std::time::Duration;

    const DIVE: &str = "https://dive.example/dive/v1/schema.json";

    fn schedule() -> Schedule<u8> {
        Schedule::new(Turns {
            at_once: 1,
            of_one: 1,
            waiting_of_one: 8,
        })
    }

    /// The published schemas and one by which a list of zeros takes long.
    fn schemas() -> Arc<SchemaSet> {
        let published = Arc::new(SchemaSet::embedded().unwrap());
        let options: Vec<usize> = (0..3_000).map(|n| (n + 1) % 3_000).collect();
        let text = json!({
            "$id": DIVE, "title": "Dive", "database": { "name": "dives" },
            "properties": { "list": { "items": { "enum": options } } },
        });
        let text = text.to_string();
        let documents = [(DIVE.parse().unwrap(), text.as_str())];
        let (set, unfit) = SchemaSet::with_own(&published, documents);
        assert!(unfit.is_empty());
        Arc::new(set)
    }

    async fn check_zeros(schedule: &Schedule<u8>, lists: usize, zeros: usize) -> Checked<Value> {
        let records = vec![json!({ "list": vec![0; zeros] }); lists];
        let schema = DIVE.parse().unwrap();
        check(
            (schedule, &1),
            &schemas(),
            &schema,
            records,
            1,
            Value::clone,
        )
        .await
        .unwrap()
    }

    /// Only one thread runs async tasks here: whoever computes on it, holds everybody up.
    #[tokio::test]
    async fn a_record_that_takes_long_to_check_waits_for_its_turn_and_holds_nobody_else_up() {
        let schedule = schedule();
        let held = schedule.turn(&1).await.unwrap();
        let checking = tokio::spawn({
            let schedule = schedule.clone();
            async move { check_zeros(&schedule, 1, 3_000).await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!checking.is_finished());
        drop(held);
        let checked = checking.await.unwrap();
        assert!(checked.iter().all(|(_, invalid)| invalid.is_none()));
    }

    #[tokio::test]
    async fn the_records_of_one_request_take_no_longer_than_one_may() {
        let checked = check_zeros(&schedule(), 5, 1_000).await;
        let refused = checked.iter().map(|(_, invalid)| invalid.is_some());
        assert_eq!(
            refused.collect::<Vec<_>>(),
            [false, false, false, true, true]
        );
        // And no less: the next request begins anew.
        let again = check_zeros(&schedule(), 1, 3_000).await;
        assert!(again.iter().all(|(_, invalid)| invalid.is_none()));
    }

    #[tokio::test]
    async fn a_small_record_of_a_published_schema_waits_for_nobody() {
        let schedule = schedule();
        let _held = schedule.turn(&1).await.unwrap();
        let email = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
        let (schemas, schema) = (schemas(), email.parse().unwrap());
        let records = || vec![json!({})];
        let small = check(
            (&schedule, &1),
            &schemas,
            &schema,
            records(),
            2,
            Value::clone,
        );
        assert!(small.await.unwrap()[0].1.is_some());
        let bytes = QUICK_BYTES + 1;
        let large = check(
            (&schedule, &1),
            &schemas,
            &schema,
            records(),
            bytes,
            Value::clone,
        );
        let waiting = tokio::time::timeout(Duration::from_millis(50), large).await;
        assert!(waiting.is_err());
    }
}
