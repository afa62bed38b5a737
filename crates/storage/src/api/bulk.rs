//! The data path, many documents told at a time. The answers are streamed: made in batches while they are sent.

use std::sync::Arc;

use adyton_couch::wire::{
    AllDocsQuery, BulkGet, ChangesQuery, CouchError, DocumentQuery, RevsAsked, changes,
};
use adyton_protocol::database::DatabaseHash;
use http::header::{self, HeaderValue};

use super::App;
use super::asked::{Admitted, Head};
use super::bulk_get::BulkGetSource;
use super::coding::AsItIs;
use super::contents::accepts;
use super::documents::Done;
use super::lists::{AllDocsSource, ListsSource};
use super::local_docs::LocalDocsProducer;
use super::missing_revs::{MissingForm, MissingRevsProducer};
use super::open_revs::Form;
use super::parsed::{parsed, room_while_told};
use super::pieces::Sending;
use super::repeats::{self, Keys, Telling};
use super::reply;
use super::route::Endpoint;
use crate::access::Permit;
use crate::changes::Feed;
use crate::databases::DatabaseError;
use crate::store::blocking;
use crate::stream::{Reader, produce};

impl App {
    pub(super) async fn bulk_get(&self, asked: Admitted) -> Done {
        let query = DocumentQuery::parse(&asked.head().query)?;
        let (body, permit, head) = asked.read(self, self.limits.bulk_bytes).await?;
        let made = parsed(body, |body| {
            let held = room_while_told(&body, BulkGet::bytes_of_items(body.as_slice()))?;
            let wanted = BulkGet::parse(body.as_slice())?.docs;
            let again = repeats::are_any(wanted.iter().flatten().map(|item| item.id.as_str()));
            Ok::<_, CouchError>((wanted, held, again))
        });
        let (mut wanted, held, again) = made.await?;
        // First the turn, then the file: who waits holds nothing, and may read at the end of it (`Databases::file` asks again).
        let turn = match again {
            true => Some(self.finds.wait(&head.caller).await?),
            false => None,
        };
        let file = self.databases.file(&permit).await?;
        let accepts = |kind| accepts(&head.headers, kind);
        let json = ["application/json", "application/*", "*/*"];
        let form = if json.into_iter().any(accepts) {
            Form::List
        } else if accepts("multipart/mixed") {
            Form::parts("mixed")?
        } else if accepts("multipart/related") {
            Form::parts("related")?
        } else {
            Form::List
        };
        let (most, opened) = (self.limits.repeated_bytes, Arc::clone(&file));
        let telling = Telling {
            contents: repeats::with_contents(&form.contents(&query.attachments)),
            revisions: query.revs,
            latest: query.latest,
        };
        if let Some(turn) = turn {
            wanted = blocking(move || {
                let few = repeats::of_items(&opened.view()?, &wanted, telling, most)?;
                drop(turn);
                Ok(few.map(|()| wanted))
            })
            .await??;
        }
        let content_type = form.content_type();
        let source = BulkGetSource::new(wanted, &query, form);
        let reader = Reader::new(self.databases.files()?, permit);
        let stream = produce(Sending::holding(source, held), file, reader);
        Ok(reply::stream_of(&content_type, stream))
    }

    /// `_revs_diff` and `_missing_revs`.
    pub(super) async fn missing_revs(&self, form: MissingForm, asked: Admitted) -> Done {
        let (body, permit, _head) = asked.read(self, self.limits.bulk_bytes).await?;
        let made = parsed(body, |body| {
            let held = room_while_told(&body, RevsAsked::bytes_of_items(body.as_slice()))?;
            Ok::<_, CouchError>((RevsAsked::parse(body.as_slice())?, held))
        });
        let asked_for = made.await?;
        let file = self.databases.file(&permit).await?;
        Ok(reply::stream(produce(
            MissingRevsProducer::new(asked_for, form),
            file,
            Reader::new(self.databases.files()?, permit),
        )))
    }

    pub(super) async fn all_docs(&self, asked: Admitted) -> Done {
        self.list(asked, |query| query).await
    }

    pub(super) async fn design_docs(&self, asked: Admitted) -> Done {
        self.list(asked, AllDocsQuery::among_designs).await
    }

    /// `_all_docs/queries` and `_design_docs/queries`.
    pub(super) async fn lists(&self, endpoint: Endpoint, asked: Admitted) -> Done {
        let (body, permit, head) = asked.read(self, self.limits.bulk_bytes).await?;
        let text = head.query.clone();
        let queries = parsed(body, move |body| {
            let bytes = AllDocsQuery::bytes_of_several(&text, body.as_slice());
            let held = room_while_told(&body, bytes)?;
            let queries = AllDocsQuery::parse_several(&text, body.as_slice())?;
            Ok::<_, CouchError>((queries, held))
        });
        let (mut queries, held) = queries.await?;
        if endpoint == Endpoint::DesignDocsQueries {
            let among_designs = queries.into_iter().map(AllDocsQuery::among_designs);
            queries = among_designs.collect();
        }
        self.few_repeats(&permit, &head, &queries).await?;
        let mut lists = Vec::with_capacity(queries.len());
        for query in queries {
            let list = AllDocsSource::new(query);
            lists.push(self.skipped(&permit, &head, list).await?);
        }
        let file = self.databases.file(&permit).await?;
        let source = ListsSource::new(lists);
        Ok(reply::stream(produce(
            Sending::holding(source, held),
            file,
            Reader::new(self.databases.files()?, permit),
        )))
    }

    /// Walks over what is not told. It takes turns, and ends with whoever asked. It may be long: it holds no file between two stretches.
    async fn skipped(
        &self,
        permit: &Permit,
        head: &Head,
        mut source: AllDocsSource,
    ) -> Result<AllDocsSource, DatabaseError> {
        if source.skips_many() {
            let _turn = self.finds.ask(&head.caller).await?;
            while source.skips_many() {
                let file = self.databases.file(permit).await?;
                source = blocking(move || source.skip_on(&file)).await?;
            }
        }
        Ok(source)
    }

    /// One list, of what `among` leaves of it.
    async fn list(&self, asked: Admitted, among: fn(AllDocsQuery) -> AllDocsQuery) -> Done {
        let (body, permit, head) = asked.read(self, self.limits.bulk_bytes).await?;
        let text = head.query.clone();
        let query = parsed(body, move |body| {
            let bytes = AllDocsQuery::bytes_of_keys(&text, body.as_slice());
            let held = room_while_told(&body, bytes)?;
            let query = AllDocsQuery::parse(&text, body.as_slice())?;
            Ok::<_, CouchError>((among(query), held))
        });
        let (query, held) = query.await?;
        let queries = std::slice::from_ref(&query);
        self.few_repeats(&permit, &head, queries).await?;
        let list = AllDocsSource::new(query);
        let list = self.skipped(&permit, &head, list).await?;
        let file = self.databases.file(&permit).await?;
        Ok(reply::stream(produce(
            Sending::holding(list, held),
            file,
            Reader::new(self.databases.files()?, permit),
        )))
    }

    /// Refuses lists whose keys name documents again and again; to see that takes a turn.
    async fn few_repeats(
        &self,
        permit: &Permit,
        head: &Head,
        queries: &[AllDocsQuery],
    ) -> Result<(), DatabaseError> {
        let Some((keys, telling)) = repeated(queries) else {
            return Ok(());
        };
        // First the turn, then the file, as above.
        let turn = self.finds.wait(&head.caller).await?;
        let file = self.databases.file(permit).await?;
        let most = self.limits.repeated_bytes;
        blocking(move || {
            let few = repeats::of_keys(&file.view()?, &keys, telling, most)?;
            drop(turn);
            Ok(few)
        })
        .await??;
        Ok(())
    }

    pub(super) async fn local_docs(&self, asked: Admitted) -> Done {
        // Readers' checkpoints say who reads: they are the owner's to list.
        let (permit, head) = asked.bodiless();
        permit.rights().design()?;
        let query = AllDocsQuery::parse(&head.query, b"")?;
        if query.descending || query.keys.is_some() {
            let reason = "`_local_docs` is told upwards, without `keys`.";
            return Err(CouchError::bad_request(reason).into());
        }
        let file = self.databases.file(&permit).await?;
        let producer = LocalDocsProducer::new(query);
        Ok(reply::stream(produce(
            producer,
            file,
            Reader::new(self.databases.files()?, permit),
        )))
    }

    pub(super) async fn changes(self: Arc<Self>, hash: DatabaseHash, asked: Admitted) -> Done {
        let (body, permit, head) = asked.read(&self, self.limits.bulk_bytes).await?;
        let text = head.query.clone();
        let query = parsed(body, move |body| {
            ChangesQuery::parse(&text, body.as_slice())
        });
        let mut query = query.await?;
        let last_event = head.headers.get("last-event-id");
        if let Some(last_event) = last_event {
            // A header that is no text is no position either.
            query.resume(last_event.to_str().unwrap_or("?"))?;
        }
        let kind = query.feed;
        let feed = Feed::open(self, head.caller, permit, hash, query).await?;
        let mut reply = reply::stream(feed.into_stream());
        if kind != changes::Feed::Normal {
            reply.extensions_mut().insert(AsItIs);
        }
        if kind == changes::Feed::EventSource {
            let headers = reply.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/event-stream"),
            );
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        Ok(reply)
    }
}

/// The keys of lists, if some of them are named more than once.
fn repeated(queries: &[AllDocsQuery]) -> Option<(Vec<Keys>, Telling)> {
    let named = queries.iter().filter_map(|query| query.keys.as_deref());
    if !repeats::are_any(named.flatten().map(String::as_str)) {
        return None;
    }
    let keys = queries.iter().filter_map(|query| {
        Some(Keys {
            keys: query.keys.clone()?,
            documents: query.include_docs,
            conflicts: query.conflicts,
        })
    });
    let contents = |query: &AllDocsQuery| repeats::with_contents(&query.attachments);
    let telling = Telling {
        contents: queries.iter().any(contents),
        revisions: false,
        latest: false,
    };
    Some((keys.collect(), telling))
}
