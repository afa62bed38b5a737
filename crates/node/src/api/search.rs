//! `search`: the records of a schema by their words, several kinds in one space, and conversations.

use std::convert::Infallible;
use std::sync::Arc;

use adyton_protocol::schema::SchemaUri;
use adyton_protocol::scope::{ApiScope, Resource};
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing;
use bytes::Bytes;
use futures_util::stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};

use super::Api;
use super::caller::Caller;
use super::door::{Ds, Records};
use super::json_body::JsonObject;
use super::problem::ApiProblem;
use super::routes::Route;
use super::search_body::{Parameters, write_cursor};
use crate::authn::Principal;
use crate::authz::{Denied, Permit, Read};
use crate::memory::{Document, Finding, Findings, Reservation, View};

/// The routes that this module answers.
#[rustfmt::skip]
pub(super) const ROUTES: [Route; 6] = [
    Route::guarded("GET", "/api/rest/v1/search/universal", || routing::get(universal_of_url)),
    Route::guarded("POST", "/api/rest/v1/search/universal", || routing::post(universal_of_body)),
    Route::guarded("GET", "/api/rest/v1/search/chatThreads", || routing::get(threads)),
    // As the original's documentation says.
    Route::guarded("GET", "/api/rest/v1/search/chat-threads", || routing::get(threads)),
    Route::guarded("POST", "/api/rest/v1/search/datastore/{schema}", || routing::post(datastore)),
    Route::guarded("POST", "/api/rest/v1/search/ds/{schema}", || routing::post(datastore)),
];

type Answer = Result<Response, ApiProblem>;
type Shared = State<Arc<Api>>;

/// The kinds of records that are searched together: name, and shortcut of the schema.
const TYPES: [(&str, &str); 7] = [
    ("files", "file"),
    ("messages", "social-chat-message"),
    ("emails", "social-email"),
    ("favorites", "favourite"),
    ("followed_pages", "social-following"),
    ("posts", "social-post"),
    ("calendar", "social-event"),
];

/// Which are searched if nobody says which.
const USUAL_TYPES: [&str; 2] = ["emails", "messages"];
/// How many of each type there are at least, if nobody says how many.
const USUAL_LEAST: usize = 5;
/// Most messages of a thread around one that was found.
const MAX_THREAD_SIZE: usize = 200;
const USUAL_THREAD_SIZE: usize = 10;
/// Most threads in one answer.
const MAX_THREADS: usize = 100;

const UNIVERSAL: &[&str] = &[
    "keywords",
    "query",
    "q",
    "searchTypes",
    "limit",
    "minResultsPerType",
    "timeframe",
    "after",
    "before",
    "cursor",
    "facets",
    "highlight",
    "skip",
];
const THREADS: &[&str] = &[
    "keywords",
    "query",
    "q",
    "threadSize",
    "limit",
    "merge",
    "timeframe",
    "after",
    "before",
    "skip",
];
const DATASTORE: &[&str] = &[
    "keywords",
    "query",
    "q",
    "index",
    "indexFields",
    "fields",
    "store",
    "storeFields",
    "limit",
    "options",
    "timeframe",
    "after",
    "before",
    "cursor",
    "facets",
    "highlight",
    "skip",
];

/// `POST /search/datastore/{schema}`, and its alias
async fn datastore(
    State(api): Shared,
    Caller(caller): Caller,
    at: Records<Ds>,
    body: JsonObject,
) -> Answer {
    let resource = at.named.resource(&api, &caller).await?;
    let permit = caller.permit::<Read>(ApiScope::SearchDs, resource)?;
    let (members, _counted) = body.into_members();
    let mut asked = Parameters::of_body(members, DATASTORE);
    let mut search = asked.search(&api.clock)?;
    if !asked.has_keywords() {
        return Err(ApiProblem::malformed(
            "the request body needs a member `keywords`, a text",
        ));
    }
    asked.options(&mut search.options)?;
    if let Some(fields) = asked.names(&["index", "indexFields", "fields"])? {
        search.options.fields = fields;
    }
    // Records come whole, so there is nothing to be stored beside the index. But nobody asks for what they do not see.
    let stored = asked.names(&["store", "storeFields"])?.unwrap_or_default();
    may_ask(permit.view(), stored.iter().chain(&search.options.fields))?;
    asked.nothing_else("the request body")?;
    let findings = api.vault.search(&[permit], search).await?;
    Ok(Told::of(findings, None))
}

async fn universal_of_url(
    State(api): Shared,
    Caller(caller): Caller,
    RawQuery(query): RawQuery,
) -> Answer {
    universal(
        &api,
        &caller,
        Parameters::of_url(query.as_deref(), UNIVERSAL)?,
    )
    .await
}

async fn universal_of_body(State(api): Shared, Caller(caller): Caller, body: JsonObject) -> Answer {
    let (members, _counted) = body.into_members();
    universal(&api, &caller, Parameters::of_body(members, UNIVERSAL)).await
}

/// `GET /search/universal`: the types that the caller may read, in one space.
async fn universal(api: &Api, caller: &Arc<Principal>, mut asked: Parameters) -> Answer {
    let mut search = asked.search(&api.clock)?;
    let usual = || USUAL_TYPES.map(str::to_owned).to_vec();
    let wanted = asked.names(&["searchTypes"])?.unwrap_or_else(usual);
    search.least_of_each = asked.number(
        "minResultsPerType",
        super::search_body::MAX_LIMIT,
        USUAL_LEAST,
    )?;
    asked.nothing_else("the request")?;
    let mut types: Vec<&'static str> = Vec::new();
    let mut permits = Vec::new();
    let mut refused = None;
    for (name, shortcut) in TYPES {
        if !wanted
            .iter()
            .any(|wanted| wanted == name || wanted == shortcut)
        {
            continue;
        }
        match permit_for(api, caller, ApiScope::SearchUniversal, shortcut) {
            Ok(permit) => {
                types.push(name);
                permits.push(permit);
            }
            Err(error @ Denied::Api(_)) => return Err(error.into()),
            // What was not granted is not searched; the answer says what was.
            Err(error) => refused = Some(error),
        }
    }
    if permits.is_empty() {
        return Err(refused.map_or_else(
            || {
                let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
                ApiProblem::malformed(format!(
                    "`searchTypes` must be some of {}",
                    names.join(", ")
                ))
            },
            ApiProblem::from,
        ));
    }
    let findings = api.vault.search(&permits, search).await?;
    Ok(Told::of(findings, Some(&types)))
}

/// `GET /search/chatThreads`, and its alias: needs to read messages and their groups.
async fn threads(State(api): Shared, Caller(caller): Caller, RawQuery(query): RawQuery) -> Answer {
    let messages = permit_for(
        &api,
        &caller,
        ApiScope::SearchChatThreads,
        "social-chat-message",
    )?;
    let groups = permit_for(
        &api,
        &caller,
        ApiScope::SearchChatThreads,
        "social-chat-group",
    )?;
    let mut asked = Parameters::of_url(query.as_deref(), THREADS)?;
    let mut search = asked.search(&api.clock)?;
    search.limit = search.limit.min(MAX_THREADS);
    let size = asked
        .number("threadSize", MAX_THREAD_SIZE, USUAL_THREAD_SIZE)?
        .max(1);
    let merge = asked.flag("merge", true)?;
    asked.nothing_else("the URL")?;
    let (threads, counted) = api
        .vault
        .search_threads(&messages, search, size, merge)
        .await?;
    let ids: Vec<String> = threads.iter().map(|thread| thread.group.clone()).collect();
    let found = api.vault.by_ids(&groups, ids).await?;
    let schema = messages.resource().schema().map_or("", SchemaUri::as_str);
    let mut told = Told::default();
    told.text("{\"items\":[");
    for (at, thread) in threads.iter().enumerate() {
        let head = json!({ "id": thread.group, "schemaUrl": schema }).to_string();
        told.text(if at > 0 { "," } else { "" });
        told.text(head.strip_suffix('}').unwrap_or(&head));
        told.text(",\"group\":");
        match found
            .documents
            .iter()
            .find(|group| group.id() == thread.group)
        {
            Some(group) => told.record(group, None),
            None => told.text("null"),
        }
        told.text(",\"messages\":[");
        for (at, message) in thread.messages.iter().enumerate() {
            told.text(if at > 0 { "," } else { "" });
            told.record(message, None);
        }
        let found = json!({ "score": thread.score, "ids": thread.found }).to_string();
        told.text("],\"_match\":");
        told.text(&found);
        told.text("}");
    }
    told.text("]}");
    Ok(told.into_response([Some(counted), Some(found.counted)]))
}

fn permit_for(
    api: &Api,
    caller: &Arc<Principal>,
    scope: ApiScope,
    shortcut: &str,
) -> Result<Permit<Read>, Denied> {
    let schema = SchemaUri::of_shortcut(shortcut).ok_or(Denied::Data)?;
    let resource = Resource::datastore(schema, &*api.schemas).ok_or(Denied::Data)?;
    caller.permit::<Read>(scope, resource)
}

fn may_ask<'n>(view: &View, mut names: impl Iterator<Item = &'n String>) -> Result<(), ApiProblem> {
    names.try_for_each(|name| {
        let path = adyton_couch::selector::FieldPath::parse(name)
            .map_err(|_| ApiProblem::malformed("a name of a field cannot be read"))?;
        Ok(view.may_ask(&path)?)
    })
}

/// An answer in pieces: records are not copied into it.
#[derive(Default)]
struct Told {
    pieces: Vec<Bytes>,
    open: Vec<u8>,
}

impl Told {
    /// The answer to a search.
    fn of(findings: Findings, types: Option<&[&'static str]>) -> Response {
        let Findings {
            items,
            totals,
            facets,
            next,
            counted,
        } = findings;
        let mut told = Self::default();
        told.text("{\"items\":[");
        for (at, finding) in items.iter().enumerate() {
            told.text(if at > 0 { "," } else { "" });
            let kind = types.and_then(|types| types.get(finding.kind).copied());
            told.record(&finding.document, Some(&match_of(finding, kind)));
        }
        let mut tail = Map::new();
        tail.insert("total".to_owned(), json!(totals.iter().sum::<usize>()));
        if let Some(types) = types {
            let totals: Map<String, Value> = types
                .iter()
                .zip(totals)
                .map(|(name, total)| ((*name).to_owned(), json!(total)))
                .collect();
            tail.insert("totals".to_owned(), Value::Object(totals));
            tail.insert("searched".to_owned(), json!(types));
        }
        if !facets.is_empty() {
            let value = |(value, count): (String, usize)| json!({ "value": value, "count": count });
            let facets: Map<String, Value> = facets
                .into_iter()
                .map(|(name, values)| (name, values.into_iter().map(value).collect()))
                .collect();
            tail.insert("facets".to_owned(), Value::Object(facets));
        }
        if let Some(next) = next {
            tail.insert("cursor".to_owned(), json!(write_cursor(&next)));
        }
        told.text("],");
        told.text(Value::Object(tail).to_string().get(1..).unwrap_or_default());
        told.into_response([Some(counted), None])
    }

    fn text(&mut self, text: &str) {
        self.open.extend_from_slice(text.as_bytes());
    }

    /// A record as it is served, with one more member.
    fn record(&mut self, record: &Document, found: Option<&Value>) {
        let [head, object] = record.served();
        self.open.extend_from_slice(&head);
        self.pieces
            .push(Bytes::from(std::mem::take(&mut self.open)));
        let Some(found) = found else {
            self.pieces.push(object);
            return;
        };
        self.pieces
            .push(object.slice(..object.len().saturating_sub(1)));
        self.text(",\"_match\":");
        self.text(&found.to_string());
        self.text("}");
    }

    /// What covers the records is held until the last of them is sent.
    fn into_response(mut self, counted: [Option<Reservation>; 2]) -> Response {
        self.pieces
            .push(Bytes::from(std::mem::take(&mut self.open)));
        let pieces = stream::iter(self.pieces.into_iter().map(move |piece| {
            let _held = &counted;
            Ok::<_, Infallible>(piece)
        }));
        let mut response = Body::from_stream(pieces).into_response();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

/// Why a record was found, in the shape of the original.
fn match_of(finding: &Finding, kind: Option<&str>) -> Value {
    let mut terms: Vec<&str> = Vec::new();
    let mut asked: Vec<&str> = Vec::new();
    let mut fields = Map::new();
    for found in &finding.matches {
        if !terms.contains(&&*found.found) {
            terms.push(&found.found);
        }
        if !asked.contains(&&*found.asked) {
            asked.push(&found.asked);
        }
        fields.insert(found.found.clone(), json!(found.fields));
    }
    let mut told = json!({
        "id": finding.document.id(), "score": finding.score, "terms": terms, "queryTerms": asked, "match": fields,
    });
    if let Some(members) = told.as_object_mut() {
        if let Some(kind) = kind {
            members.insert("type".to_owned(), json!(kind));
        }
        if !finding.pieces.is_empty() {
            let pieces: Map<String, Value> = finding
                .pieces
                .iter()
                .map(|(field, pieces)| (field.clone(), json!(pieces)))
                .collect();
            members.insert("highlights".to_owned(), Value::Object(pieces));
        }
    }
    told
}
