//! The table: what guards each route, the kinds of wrong credential, and what must come back.

use adyton_protocol::scope::ApiScope;

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Nothing: it tells nothing about anybody.
    Public,
    /// A valid credential.
    Anyone,
    /// The owner's session.
    Owner,
    /// The named capability, and the named right to the records of a schema (`ds`) or of a whole database (`db`).
    Data(Reach, ApiScope, Right),
}

/// By which of the two names a route reaches records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Schema,
    Database,
    /// Chat messages and their groups, both.
    Chats,
}

/// What a data route does with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    Get,
    /// Many by their ids.
    Fetch,
    Query,
    Search,
    Count,
    Aggregate,
    /// Being told of changes.
    Watch,
    /// Having somebody else told of them.
    Ticket,
    Create,
    /// Many at once.
    Bulk,
    Update,
    Delete,
}

impl Right {
    /// Its letter in a scope.
    pub fn letter(self) -> char {
        match self {
            Self::Get
            | Self::Fetch
            | Self::Query
            | Self::Search
            | Self::Count
            | Self::Aggregate
            | Self::Watch
            | Self::Ticket => 'r',
            Self::Create | Self::Bulk | Self::Update => 'w',
            Self::Delete => 'd',
        }
    }
}

const fn ds(scope: ApiScope, right: Right) -> Guard {
    Guard::Data(Reach::Schema, scope, right)
}

const fn db(scope: ApiScope, right: Right) -> Guard {
    Guard::Data(Reach::Database, scope, right)
}

const CHATS: Guard = Guard::Data(Reach::Chats, ApiScope::SearchChatThreads, Right::Search);

/// Method, path and guard of every route. A test holds the table to the routes.
#[rustfmt::skip]
pub const TABLE: &[(&str, &str, Guard)] = {
    use ApiScope as Api;
    &[
        ("GET", "/livez", Guard::Public),
        ("GET", "/readyz", Guard::Public),
        ("GET", "/api/rest", Guard::Public),
        ("GET", "/openapi.json", Guard::Public),
        ("GET", "/api/rest/v1/info/status", Guard::Public),
        ("GET", "/api/rest/v1/account/fromKey", Guard::Owner),
        ("GET", "/api/rest/v1/auth/scopes", Guard::Public),
        ("GET", "/api/rest/v1/auth/me", Guard::Anyone),
        ("POST", "/api/rest/v1/auth/token", Guard::Owner),
        ("GET", "/api/rest/v1/auth/tokens", Guard::Owner),
        ("DELETE", "/api/rest/v1/auth/tokens/{id}", Guard::Owner),
        ("GET", "/api/rest/v1/auth/grants", Guard::Owner),
        ("DELETE", "/api/rest/v1/auth/grants/{id}", Guard::Owner),
        ("POST", "/api/rest/v1/auth/revoke-all", Guard::Owner),
        ("GET", "/consent/requests/{request}", Guard::Public),
        ("POST", "/consent/requests/{request}/preview", Guard::Owner),
        ("POST", "/consent/requests/{request}/approve", Guard::Owner),
        ("POST", "/consent/requests/{request}/deny", Guard::Public),
        ("POST", "/api/rest/v1/auth/session/challenges", Guard::Public),
        ("POST", "/api/rest/v1/auth/session", Guard::Public),
        ("GET", "/consent", Guard::Public),
        ("GET", "/console", Guard::Public),
        ("GET", "/docs", Guard::Public),
        ("GET", "/assets/{file}", Guard::Public),
        ("GET", "/api/rest/v1/auth/resolve-scopes", Guard::Public),
        ("POST", "/api/rest/v1/auth/auth", Guard::Owner),
        ("GET", "/api/rest/v1/auth/check-scope", Guard::Anyone),
        ("GET", "/api/rest/v1/auth/token", Guard::Anyone),
        ("GET", "/api/rest/v1/auth/revoke", Guard::Owner),
        ("POST", "/api/rest/v1/auth/revoke", Guard::Owner),
        ("GET", "/oauth/authorize", Guard::Public),
        ("POST", "/oauth/par", Guard::Public),
        ("POST", "/oauth/token", Guard::Public),
        ("POST", "/oauth/revoke", Guard::Public),
        ("POST", "/oauth/introspect", Guard::Anyone),
        ("GET", "/.well-known/oauth-authorization-server", Guard::Public),
        ("GET", "/.well-known/oauth-protected-resource", Guard::Public),
        ("GET", "/.well-known/oauth-protected-resource/api/rest/v1", Guard::Public),
        ("GET", "/api/rest/v1/ds/get/{schema}/{id}", ds(Api::DsGetById, Right::Get)),
        ("POST", "/api/rest/v1/ds/query/{schema}", ds(Api::DsQuery, Right::Query)),
        ("POST", "/api/rest/v1/ds/count/{schema}", ds(Api::DsQuery, Right::Count)),
        ("POST", "/api/rest/v1/ds/{schema}", ds(Api::DsCreate, Right::Create)),
        ("PUT", "/api/rest/v1/ds/{schema}/{id}", ds(Api::DsUpdate, Right::Update)),
        ("DELETE", "/api/rest/v1/ds/{schema}/{id}", ds(Api::DsDelete, Right::Delete)),
        ("GET", "/api/rest/v1/db/get/{database}/{id}", db(Api::DbGetById, Right::Get)),
        ("POST", "/api/rest/v1/db/query/{database}", db(Api::DbQuery, Right::Query)),
        ("POST", "/api/rest/v1/db/count/{database}", db(Api::DbQuery, Right::Count)),
        ("POST", "/api/rest/v1/db/{database}", db(Api::DbCreate, Right::Create)),
        ("PUT", "/api/rest/v1/db/{database}/{id}", db(Api::DbUpdate, Right::Update)),
        ("DELETE", "/api/rest/v1/db/{database}/{id}", db(Api::DbUpdate, Right::Delete)),
        ("POST", "/api/rest/v1/ds/get/{schema}/{id}", ds(Api::DsGetById, Right::Get)),
        ("GET", "/api/rest/v1/ds/{schema}/{id}", ds(Api::DsGetById, Right::Get)),
        ("POST", "/api/rest/v1/ds/explain/{schema}", ds(Api::DsQuery, Right::Count)),
        ("POST", "/api/rest/v1/ds/aggregate/{schema}", ds(Api::DsQuery, Right::Aggregate)),
        ("POST", "/api/rest/v1/ds/bulk-get/{schema}", ds(Api::DsGetById, Right::Fetch)),
        ("GET", "/api/rest/v1/ds/export/{schema}", ds(Api::DsQuery, Right::Query)),
        ("PATCH", "/api/rest/v1/ds/{schema}/{id}", ds(Api::DsUpdate, Right::Update)),
        ("DELETE", "/api/rest/v1/ds/{schema}", ds(Api::DsDelete, Right::Delete)),
        ("POST", "/api/rest/v1/ds/bulk/{schema}", ds(Api::DsCreate, Right::Bulk)),
        ("POST", "/api/rest/v1/db/get/{database}/{id}", db(Api::DbGetById, Right::Get)),
        ("GET", "/api/rest/v1/db/{database}/{id}", db(Api::DbGetById, Right::Get)),
        ("POST", "/api/rest/v1/db/explain/{database}", db(Api::DbQuery, Right::Count)),
        ("POST", "/api/rest/v1/db/aggregate/{database}", db(Api::DbQuery, Right::Aggregate)),
        ("POST", "/api/rest/v1/db/bulk-get/{database}", db(Api::DbGetById, Right::Fetch)),
        ("GET", "/api/rest/v1/db/export/{database}", db(Api::DbQuery, Right::Query)),
        ("PATCH", "/api/rest/v1/db/{database}/{id}", db(Api::DbUpdate, Right::Update)),
        ("DELETE", "/api/rest/v1/db/{database}", db(Api::DbUpdate, Right::Delete)),
        ("POST", "/api/rest/v1/db/bulk/{database}", db(Api::DbCreate, Right::Bulk)),
        ("GET", "/api/rest/v1/ds/watch/{schema}", ds(Api::DsQuery, Right::Watch)),
        ("POST", "/api/rest/v1/ds/watch/{schema}", ds(Api::DsQuery, Right::Watch)),
        ("GET", "/api/rest/v1/db/watch/{database}", db(Api::DbQuery, Right::Watch)),
        ("POST", "/api/rest/v1/db/watch/{database}", db(Api::DbQuery, Right::Watch)),
        ("POST", "/api/rest/v1/watch/tickets", ds(Api::DsQuery, Right::Ticket)),
        ("GET", "/api/rest/v1/watch/{ticket}", Guard::Public),
        ("GET", "/api/rest/v1/search/universal", ds(Api::SearchUniversal, Right::Search)),
        ("POST", "/api/rest/v1/search/universal", ds(Api::SearchUniversal, Right::Search)),
        ("GET", "/api/rest/v1/search/chatThreads", CHATS),
        ("GET", "/api/rest/v1/search/chat-threads", CHATS),
        ("POST", "/api/rest/v1/search/datastore/{schema}", ds(Api::SearchDs, Right::Search)),
        ("POST", "/api/rest/v1/search/ds/{schema}", ds(Api::SearchDs, Right::Search)),
        ("GET", "/api/rest/v1/schemas", Guard::Owner),
        // In this order: what is put can be got, and what is there can be ended.
        ("PUT", "/api/rest/v1/schemas/{schema}", Guard::Owner),
        ("GET", "/api/rest/v1/schemas/{schema}", Guard::Owner),
        ("DELETE", "/api/rest/v1/schemas/{schema}", Guard::Owner),
        ("GET", "/.well-known/adyton-attestation", Guard::Public),
        ("POST", "/.well-known/ohttp-gateway", Guard::Public),
    ]
};

/// A kind of credential that is missing, is none, or does not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    // Not a credential.
    Nothing,
    WrongScheme,
    NoScheme,
    EmptySession,
    GarbageSession,
    SessionOfNonsenseJson,
    /// The owner's DID, the seed of somebody else.
    ForgedSeed,
    /// The owner's DID and seed, the name of another context.
    RenamedContext,
    /// A stranger's session in which the DID was replaced by the owner's.
    BorrowedDid,
    SessionAsToken,
    TokenAsSession,
    GarbageToken,
    TokenOneCharacterOff,
    TokenOfAnotherNode,
    ExpiredToken,
    RevokedToken,
    PrivateKey,
    PrivateKeyBesideSession,
    // More than one, or in the wrong place.
    SessionAndToken,
    TwoSessions,
    TwoTokens,
    SessionInUrl,
    TokenInUrl,
    KeyInUrlBesideSession,
    // A valid credential of somebody else.
    OtherUser,
    OtherContext,
    AppOfOtherUser,
    // A valid credential that allows too little.
    NoDataScope,
    NoApiScope,
    AllButThisApiScope,
    AllButThisRight,
    OtherSchema,
    OtherDatabase,
    SchemaScopeOnDatabase,
    // Controls: what suffices.
    LeastToken,
    Owner,
}

#[rustfmt::skip]
pub const KINDS: [Kind; 36] = {
    use Kind::*;
    [
        Nothing, WrongScheme, NoScheme, EmptySession, GarbageSession, SessionOfNonsenseJson, ForgedSeed,
        RenamedContext, BorrowedDid, SessionAsToken, TokenAsSession, GarbageToken, TokenOneCharacterOff,
        TokenOfAnotherNode, ExpiredToken, RevokedToken, PrivateKey, PrivateKeyBesideSession, SessionAndToken,
        TwoSessions, TwoTokens, SessionInUrl, TokenInUrl, KeyInUrlBesideSession, OtherUser, OtherContext,
        AppOfOtherUser, NoDataScope, NoApiScope, AllButThisApiScope, AllButThisRight, OtherSchema, OtherDatabase,
        SchemaScopeOnDatabase, LeastToken, Owner,
    ]
};

/// [`KINDS`] has every kind once: as many as there are, in their order.
const _: () = {
    let mut at = 0;
    while at < KINDS.len() {
        assert!(KINDS[at] as usize == at, "a kind is missing or twice");
        at += 1;
    }
    assert!(KINDS.len() == Kind::Owner as usize + 1, "a kind is missing");
};

/// What must come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// This problem, and nothing else.
    Problem(u16, &'static str),
    /// This error in the form of OAuth: the route takes a form, and it was sent none.
    NoForm,
    /// A success about the caller's own data, in which nothing of the owner's is.
    OwnEmptiness,
    /// The answer of the route.
    Served,
    /// The kind says nothing about this route.
    NotApplicable,
}

/// The one table of answers.
pub fn expected(guard: Guard, path: &str, kind: Kind) -> Expect {
    match (path, expected_of_most(guard, path, kind)) {
        // Whoever has a credential gets as far as the form.
        ("/oauth/introspect", Expect::Served | Expect::OwnEmptiness) => Expect::NoForm,
        (_, expect) => expect,
    }
}

fn expected_of_most(guard: Guard, path: &str, kind: Kind) -> Expect {
    use Expect::{NoForm, NotApplicable, OwnEmptiness, Problem, Served};
    if guard == Guard::Public {
        let in_url = matches!(
            kind,
            Kind::SessionInUrl | Kind::TokenInUrl | Kind::KeyInUrlBesideSession
        );
        return match path {
            // It knows one query and no other.
            "/.well-known/adyton-attestation" if in_url => Problem(400, "request-malformed"),
            // It takes nothing but sealed requests; `sealed_requests.rs` sends some.
            "/.well-known/ohttp-gateway" => Problem(400, "request-malformed"),
            // `auth_oauth.rs` sends what they take.
            "/oauth/authorize" => Problem(400, "request-malformed"),
            "/oauth/par" | "/oauth/token" | "/oauth/revoke" => NoForm,
            // They take a login to carry; `browser_login.rs` has some.
            "/api/rest/v1/auth/session/challenges" | "/api/rest/v1/auth/session" => {
                Problem(400, "request-malformed")
            }
            // It knows one parameter and no other.
            "/api/rest/v1/auth/resolve-scopes" if in_url => Problem(400, "request-malformed"),
            // It has what the pages name; `pages.rs` asks for all of that.
            "/assets/{file}" => Problem(404, "not-found"),
            // It has what a ticket was issued for; `watch.rs` has some.
            "/api/rest/v1/watch/{ticket}" if in_url => Problem(400, "request-malformed"),
            "/api/rest/v1/watch/{ticket}" => Problem(404, "not-found"),
            // `consent_pages.rs` has an app that asks; nobody else's guess finds a request.
            _ if path.contains("{request}") => Problem(404, "not-found"),
            _ => Served,
        };
    }
    let names_a_token = path.ends_with("/tokens/{id}")
        || path.ends_with("/grants/{id}")
        || path.ends_with("/auth/revoke");
    let is_owner = matches!(kind, Kind::Owner | Kind::OtherUser | Kind::OtherContext);
    match path {
        // `auth_legacy.rs` has a signed request for it.
        "/api/rest/v1/auth/auth" if is_owner => return Problem(400, "request-malformed"),
        // It tells an app about its own token; making one is for the owner, at the same path.
        "/api/rest/v1/auth/token" if is_owner && guard == Guard::Anyone => {
            return Problem(400, "request-malformed");
        }
        _ => {}
    }
    if path.contains("{request}")
        && matches!(kind, Kind::Owner | Kind::OtherUser | Kind::OtherContext)
    {
        return Problem(404, "not-found");
    }
    match kind {
        Kind::Nothing => Problem(401, "credentials-missing"),
        Kind::WrongScheme
        | Kind::NoScheme
        | Kind::EmptySession
        | Kind::GarbageSession
        | Kind::SessionOfNonsenseJson
        | Kind::ForgedSeed
        | Kind::RenamedContext
        | Kind::BorrowedDid
        | Kind::SessionAsToken
        | Kind::TokenAsSession
        | Kind::GarbageToken
        | Kind::TokenOneCharacterOff
        | Kind::TokenOfAnotherNode
        | Kind::PrivateKey
        | Kind::PrivateKeyBesideSession => Problem(401, "credentials-invalid"),
        Kind::ExpiredToken => Problem(401, "token-expired"),
        Kind::RevokedToken => Problem(401, "token-revoked"),
        Kind::SessionAndToken | Kind::TwoSessions | Kind::TwoTokens => {
            Problem(400, "credentials-ambiguous")
        }
        Kind::SessionInUrl | Kind::TokenInUrl | Kind::KeyInUrlBesideSession => {
            Problem(400, "request-malformed")
        }
        // Absent and not yours look the same.
        Kind::OtherUser | Kind::OtherContext => match guard {
            Guard::Data(_, _, Right::Get | Right::Update | Right::Delete) => {
                Problem(404, "not-found")
            }
            Guard::Owner if names_a_token => Problem(404, "not-found"),
            Guard::Data(..) | Guard::Owner | Guard::Anyone => OwnEmptiness,
            Guard::Public => Served,
        },
        Kind::AppOfOtherUser => match guard {
            Guard::Data(_, _, Right::Get | Right::Update | Right::Delete) => {
                Problem(404, "not-found")
            }
            Guard::Data(..) | Guard::Anyone => OwnEmptiness,
            Guard::Owner => Problem(403, "scope-missing"),
            Guard::Public => Served,
        },
        Kind::NoDataScope | Kind::NoApiScope | Kind::OtherSchema | Kind::OtherDatabase => {
            match guard {
                Guard::Data(..) | Guard::Owner => Problem(403, "scope-missing"),
                // Who one is, every credential may ask; about the owner it says no more than the token's own grant.
                Guard::Anyone | Guard::Public => Served,
            }
        }
        Kind::AllButThisApiScope | Kind::AllButThisRight => match guard {
            Guard::Data(..) => Problem(403, "scope-missing"),
            Guard::Owner | Guard::Anyone | Guard::Public => NotApplicable,
        },
        Kind::SchemaScopeOnDatabase => match guard {
            Guard::Data(Reach::Database, ..) => Problem(403, "scope-missing"),
            Guard::Data(Reach::Schema | Reach::Chats, ..)
            | Guard::Owner
            | Guard::Anyone
            | Guard::Public => NotApplicable,
        },
        Kind::LeastToken => match guard {
            Guard::Owner => Problem(403, "scope-missing"),
            Guard::Data(..) | Guard::Anyone | Guard::Public => Served,
        },
        Kind::Owner => Served,
    }
}
