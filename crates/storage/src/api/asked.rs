//! A request whose address was read: who asks, whether they may, and only then what they send.
//!
//! Guarantees: a body is read here only, and whoever reads one gets the right to act on it as it is afterwards. A sender takes the
//! time that a body may take, so a right that was looked at before it says nothing any more when the body is there. Who may not is
//! refused before a byte is read.
//!
//! Refuses to know: what is asked for.

use std::net::IpAddr;

use adyton_couch::wire::{CouchError, legible, read_object};
use adyton_protocol::database::DatabaseHash;
use http::header::{self, HeaderMap};
use http::{Method, StatusCode};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::App;
use super::coding::Coding;
use super::reply::{self, Reply};
use crate::access::{Permit, Principal, Rights, User};
use crate::databases::DatabaseError;
use crate::server::body::{BodyRefusal, RequestBody, Sender};
use crate::throttle::CallerKey;

/// What stands before a request's body.
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    /// Who asks, as far as counting goes.
    pub(crate) caller: CallerKey,
    /// Whom the bytes of a body, and what anybody may bring, count for besides.
    address: Option<IpAddr>,
    /// Who asks on the data path, as the credential proved when the request came.
    principal: Result<Principal, CouchError>,
}

/// A request that nobody was let in for.
pub(crate) struct Asked {
    pub(crate) head: Head,
    body: Incoming,
}

/// A request of somebody who may read the database that it is for.
pub(crate) struct Admitted {
    asked: Asked,
    hash: DatabaseHash,
    /// From before the body: good for a request without one, and for refusals.
    permit: Permit,
}

/// A request of the holder of a token.
pub(crate) struct Recognised {
    asked: Asked,
    user: User,
}

impl Head {
    /// Reads who asks, once.
    pub(super) fn of(app: &App, head: http::request::Parts, method: Method, peer: IpAddr) -> Self {
        let principal = app.auth.principal(authorization(&head.headers));
        let address = app.proxy.client(peer, &head.headers);
        let caller = match &principal {
            Ok(Principal::User(user)) => CallerKey::Account(user.account().into()),
            Ok(Principal::Peer(peer)) => CallerKey::Account(peer.name.as_str().into()),
            Ok(Principal::Anonymous | Principal::Public) | Err(_) => CallerKey::Address(address),
        };
        Self {
            method,
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            caller,
            // From this machine many may come through a proxy that nobody told of.
            address: (app.proxy.trusts(peer) || !peer.to_canonical().is_loopback())
                .then_some(address),
            principal,
        }
    }

    /// The address that asks, if it counts by itself.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Who asks on the data path.
    pub(super) fn principal(&self) -> Result<&Principal, CouchError> {
        self.principal.as_ref().map_err(CouchError::clone)
    }

    /// The holder of the token that came with the request.
    pub(super) fn user(&self, app: &App) -> Option<User> {
        match &self.principal {
            Ok(Principal::User(user)) => Some(user.clone()),
            // The middleware takes a token under any scheme, as the original does.
            _ => app.auth.user(authorization(&self.headers)).ok(),
        }
    }
}

impl Asked {
    pub(super) fn new(head: Head, body: Incoming) -> Self {
        Self { head, body }
    }

    /// Lets the request in, if who asks may read the database at this moment, and what is asked can be read.
    pub(super) async fn admit(
        self,
        app: &App,
        hash: DatabaseHash,
    ) -> Result<Admitted, DatabaseError> {
        let permit = app
            .databases
            .authorise(self.head.principal()?, hash)
            .await?;
        legible(&self.head.query)?;
        if let Principal::Peer(_) = permit.principal() {
            // It lives: what waits for it need not any more.
            app.news.heard(&permit.record().owner);
        }
        Ok(Admitted {
            asked: self,
            hash,
            permit,
        })
    }

    /// Lets the request in, if it came with a token.
    pub(super) fn recognise(self, app: &App) -> Option<Recognised> {
        let user = self.head.user(app)?;
        Some(Recognised { asked: self, user })
    }

    /// Reads and parses the JSON body of a middleware call that no token authorises. An absent body is `{}`, as in the original.
    pub(super) async fn call<T: DeserializeOwned>(self, app: &App) -> Result<T, Reply> {
        let (body, _head) = self.body(app, app.limits.body_bytes).await;
        let body = body.map_err(|refusal| {
            let status = match refusal {
                BodyRefusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                BodyRefusal::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
                BodyRefusal::Stalled | BodyRefusal::Broken => StatusCode::BAD_REQUEST,
            };
            reply::fail(status, &refusal.to_string())
        })?;
        let text = match body.as_slice() {
            b"" => b"{}",
            text => text,
        };
        read_object(text).map_err(|_| {
            let message = "The request body is not the expected JSON";
            reply::fail(StatusCode::BAD_REQUEST, message)
        })
    }

    async fn body(self, app: &App, limit: usize) -> (Result<RequestBody, BodyRefusal>, Head) {
        let sender = Sender {
            caller: self.head.caller.clone(),
            address: self.head.address,
        };
        let body = app.bodies.read(self.body, limit, sender).await;
        (body, self.head)
    }
}

impl Admitted {
    pub(super) fn head(&self) -> &Head {
        &self.asked.head
    }

    /// What may be done besides reading, as far as it is known: enough to refuse before a body is read.
    pub(super) fn rights(&self) -> Rights {
        self.permit.rights()
    }

    /// The permit of a request whose body nobody reads.
    pub(super) fn bodiless(self) -> (Permit, Head) {
        (self.permit, self.asked.head)
    }

    /// The coding that the caller may be answered in; none where lengths could tell something.
    pub(super) fn coding(&self) -> Option<Coding> {
        let rules = &self.permit.record().rules;
        (!rules.mixes_words()).then(|| Coding::accepted(&self.asked.head.headers))
    }

    /// Reads the body, out of its coding, and looks anew whether who sent it may read the database.
    pub(super) async fn read(
        self,
        app: &App,
        limit: usize,
    ) -> Result<(RequestBody, Permit, Head), DatabaseError> {
        let coding = Coding::of_body(&self.head().headers)?;
        let hash = self.hash;
        let (body, permit, head) = self.read_as_it_is(app, limit).await?;
        if coding == Coding::Identity || body.as_slice().is_empty() {
            return Ok((body, permit, head));
        }
        let body = coding.decode(body, limit).await?;
        // To decode may have taken its time, too.
        let permit = app.databases.authorise(head.principal()?, hash).await?;
        Ok((body, permit, head))
    }

    /// The same, where the coding is the content's own.
    pub(super) async fn read_as_it_is(
        self,
        app: &App,
        limit: usize,
    ) -> Result<(RequestBody, Permit, Head), DatabaseError> {
        drop(self.permit);
        let (body, head) = self.asked.body(app, limit).await;
        let body = body.map_err(reply::couch_refusal)?;
        let permit = app
            .databases
            .authorise(head.principal()?, self.hash)
            .await?;
        Ok((body, permit, head))
    }
}

impl Recognised {
    /// Reads and parses the body of a call, and looks anew whether the token still counts.
    pub(super) async fn call<T: DeserializeOwned>(self, app: &App) -> Result<(T, User), Reply> {
        let call = self.asked.call(app).await?;
        match app.clock.unix_seconds() < self.user.expires {
            true => Ok((call, self.user)),
            false => Err(reply::unauthorized()),
        }
    }
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?;
    Some(value.to_str().unwrap_or(""))
}
