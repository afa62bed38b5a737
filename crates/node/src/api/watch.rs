//! Watching: `ds` and `db` as event streams, and tickets for who cannot send a credential.

use std::convert::Infallible;
use std::sync::Arc;

use adyton_couch::selector::Selector;
use adyton_protocol::scope::Resource;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, routing};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::Api;
use super::caller::Caller;
use super::door::{Db, Door, Ds, Records};
use super::event_stream::EventText;
use super::json_body::JsonObject;
use super::path::{Parameters, QueryString};
use super::problem::ApiProblem;
use super::query_body::{SELECTOR_NAMES, parse_selector, take_selector};
use super::routes::Route;
use super::tickets;
use crate::authn::{CredentialError, Principal, secret_in_url};
use crate::authz::Read;
use crate::memory::Reservation;
use crate::server::Endless;
use crate::vault::{Beginning, Watch, Word};

/// The routes that this module answers.
#[rustfmt::skip]
pub(super) const ROUTES: [Route; 6] = [
    Route::guarded("GET", "/api/rest/v1/ds/watch/{schema}", || routing::get(watch::<Ds>)),
    Route::guarded("POST", "/api/rest/v1/ds/watch/{schema}", || routing::post(watch::<Ds>)),
    Route::guarded("GET", "/api/rest/v1/db/watch/{database}", || routing::get(watch::<Db>)),
    Route::guarded("POST", "/api/rest/v1/db/watch/{database}", || routing::post(watch::<Db>)),
    Route::guarded("POST", "/api/rest/v1/watch/tickets", || routing::post(issue)),
    Route::public("GET", "/api/rest/v1/watch/{ticket}", || routing::get(redeem)),
];

type Answer = Result<Response, ApiProblem>;
type Shared = State<Arc<Api>>;

/// How many names of schemas and databases a path has in front: `/ds/watch/` and `/db/watch/`.
const DOORS: [&str; 2] = ["/ds/watch/", "/db/watch/"];
/// Where the routes are.
const PREFIX: &str = "/api/rest/v1";

/// `GET` and `POST /{door}/watch/{name}`
async fn watch<D: Door>(
    State(api): Shared,
    Caller(caller): Caller,
    at: Records<D>,
    RawQuery(url): RawQuery,
    headers: HeaderMap,
    body: JsonObject,
) -> Answer {
    let asked = Asked::parse(url.as_deref(), &headers, body)?;
    let resource = at.named.resource(&api, &caller).await?;
    Ok(stream_of(open::<D>(&api, &caller, resource, asked).await?))
}

/// `POST /watch/tickets`: `{"path": "/ds/watch/…", "query"?: {…}, "options"?: {…}}`
async fn issue(
    State(api): Shared,
    Caller(caller): Caller,
    RawQuery(url): RawQuery,
    headers: HeaderMap,
    mut body: JsonObject,
) -> Answer {
    let Some(Value::String(path)) = body.take("path") else {
        return Err(ApiProblem::malformed(
            "the request body needs a member `path`: what to watch, such as /ds/watch/<schema>",
        ));
    };
    let asked = Asked::parse(url.as_deref(), &headers, body)?;
    let within = path.strip_prefix(PREFIX).unwrap_or(&path);
    let [schema, database] = DOORS.map(|door| within.strip_prefix(door));
    let watch = match (schema, database) {
        (Some(schema), _) => {
            let named = Ds::named(&decoded(schema)?)?;
            let resource = named.resource(&api, &caller).await?;
            open::<Ds>(&api, &caller, resource, asked).await?
        }
        (None, Some(database)) => {
            let named = Db::named(&decoded(database)?)?;
            let resource = named.resource(&api, &caller).await?;
            open::<Db>(&api, &caller, resource, asked).await?
        }
        (None, None) => {
            return Err(ApiProblem::malformed(
                "`path` must be /ds/watch/<schema> or /db/watch/<database>",
            ));
        }
    };
    let ticket = api.tickets.issue(watch);
    let body = json!({
        "url": format!("{PREFIX}/watch/{ticket}"),
        "ticket": ticket,
        "expiresIn": tickets::LIFE.as_secs(),
    });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// `GET /watch/{ticket}`
async fn redeem(State(api): Shared, Parameters(ticket): Parameters<String>, uri: Uri) -> Answer {
    if secret_in_url(&uri) {
        return Err(CredentialError::InUrl.into());
    }
    let watch = api.tickets.take(&ticket);
    // Used, too late and never there look the same.
    Ok(stream_of(watch.ok_or_else(ApiProblem::not_found)?))
}

async fn open<D: Door>(
    api: &Api,
    caller: &Arc<Principal>,
    resource: Resource,
    asked: Asked,
) -> Result<Watch, ApiProblem> {
    // Those that nobody comes for must not take the places of others.
    api.tickets.clear_up();
    let permit = caller.permit::<Read>(D::QUERY, resource)?;
    let Asked {
        selector,
        beginning,
        _counted,
    } = asked;
    Ok(api.vault.watch(&permit, selector, beginning).await?)
}

fn decoded(name: &str) -> Result<String, ApiProblem> {
    let name = percent_encoding::percent_decode_str(name).decode_utf8();
    let name = name.map_err(|_| ApiProblem::malformed("`path` must be percent-encoded utf-8"))?;
    Ok(name.into_owned())
}

/// What a watch is asked for.
#[derive(Debug)]
struct Asked {
    selector: Selector,
    beginning: Beginning,
    _counted: Reservation,
}

/// What a URL can say.
const IN_URL: [&str; 2] = ["filter", "since"];
/// What the options can say.
const OPTIONS: [&str; 4] = ["since", "selector", "live", "include_docs"];

impl Asked {
    /// The selector is in the body or in the URL; where to begin is in the header of a reader that comes back, in the body
    /// or in the URL.
    fn parse(
        url: Option<&str>,
        headers: &HeaderMap,
        mut body: JsonObject,
    ) -> Result<Self, ApiProblem> {
        let mut in_url = QueryString::parse(url)?;
        let [filter, since] = IN_URL.map(|name| in_url.take(name));
        in_url.nothing_else(&IN_URL)?;
        let mut options = match body.take("options") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(options)) => options,
            Some(_) => return Err(ApiProblem::malformed("`options` must be an object")),
        };
        let in_body = take_selector(&mut body)?;
        let known = [&SELECTOR_NAMES[..], &["options"]].concat();
        let counted = body.nothing_else(&known)?;
        let in_options = match options.remove("selector") {
            None | Some(Value::Null) => None,
            Some(selector) => Some(parse_selector(&selector.to_string())?),
        };
        let in_url = filter.as_deref().map(parse_selector).transpose()?;
        let mut given = [in_body, in_options, in_url].into_iter().flatten();
        let (selector, None) = (given.next(), given.next()) else {
            return Err(ApiProblem::malformed(
                "give the selector once: in the body, in options or in the URL",
            ));
        };
        let since = match (options.remove("since"), since) {
            (None | Some(Value::Null), since) => since,
            (Some(Value::String(since)), None) => Some(since),
            (Some(_), None) => {
                return Err(ApiProblem::malformed(
                    "`since` must be now, start or a cursor",
                ));
            }
            (Some(_), Some(_)) => return Err(ApiProblem::malformed("give `since` once")),
        };
        // What the original's database understood and this is anyway.
        for always in ["live", "include_docs"] {
            if !matches!(options.remove(always), None | Some(Value::Bool(true))) {
                return Err(ApiProblem::malformed(format!(
                    "`{always}` can only be true"
                )));
            }
        }
        if !options.is_empty() {
            return Err(ApiProblem::unknown_member("`options`", &OPTIONS));
        }
        let last = headers.get(HeaderName::from_static("last-event-id"));
        let last = last.and_then(|last| last.to_str().ok());
        // Who comes back says so, whatever it said the first time.
        let beginning = match last.filter(|last| !last.is_empty()).or(since.as_deref()) {
            None | Some("now") => Beginning::Now,
            Some("start") => Beginning::Start,
            Some(cursor) => Beginning::After(cursor.to_owned()),
        };
        Ok(Self {
            selector: selector.unwrap_or_else(Selector::everything),
            beginning,
            _counted: counted,
        })
    }
}

/// The events of a watch, written as they come.
fn stream_of(watch: Watch) -> Response {
    let reading = (watch, EventText::default(), false);
    let pieces = stream::unfold(reading, |(mut watch, mut text, mut over)| async move {
        loop {
            if let Some(piece) = text.piece() {
                return Some((Ok::<_, Infallible>(piece), (watch, text, over)));
            }
            if over {
                return None;
            }
            let word = watch.next().await;
            over = matches!(word, Word::Ended(_));
            text.put(word);
        }
    });
    let mut response = Body::from_stream(pieces).into_response();
    response.extensions_mut().insert(Endless);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that gathers an answer gathers this one for ever.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}
