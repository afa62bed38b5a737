//! Whether this node can stand in front of a CouchDB: looked at before anything is served, and before anything is made there.
//!
//! Guarantees: what would look to every client like the end of its token, or would let an ended one count on, is said at start and in
//! words of the setting that is wrong.

use http::Method;
use serde_json::Value;

use super::client::CouchClient;
use super::databases::CouchDatabases;
use super::layout::Acting;
use crate::store::StoreError;

/// The first CouchDB that takes tokens.
const FIRST_VERSION: (u64, u64) = (3, 1);
/// A role that nobody has.
const ROLE: &str = "adyton-at-start";

/// What stands against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hindrance {
    Admin,
    NotCouch,
    TooOld,
    Tokens,
    EndedTokens,
    Roles,
}

impl Hindrance {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Admin => {
                "it does not know the admin of the secrets, or he is no server admin there"
            }
            Self::NotCouch => "what answers there is no CouchDB",
            Self::TooOld => "it is older than 3.1, and takes no tokens",
            Self::Tokens => {
                "it does not take tokens that are signed with the access key ([jwt_keys] hmac:_default, jwt_authentication_handler), or its clock is another one"
            }
            Self::EndedTokens => {
                "it takes tokens that have ended ([jwt_auth] required_claims = exp)"
            }
            Self::Roles => {
                "it does not read the roles of a token ([jwt_auth] roles_claim_name = _couchdb.roles)"
            }
        }
    }
}

/// Looks for what stands against it; none: it can.
pub(crate) async fn hindrance(
    client: &CouchClient,
    databases: &CouchDatabases,
) -> Result<Option<Hindrance>, StoreError> {
    let session = client.ask(Method::GET, "/_session", None).await?;
    let roles = match session.good() {
        Ok(session) => roles_of(&session),
        Err(StoreError::Away) => return Err(StoreError::Away),
        Err(_) => Vec::new(),
    };
    if !roles.iter().any(|role| role == "_admin") {
        return Ok(Some(Hindrance::Admin));
    }
    let welcome = client.get("/").await?.unwrap_or_default();
    let version = welcome.get("version").and_then(Value::as_str);
    match version.and_then(version_of) {
        None => return Ok(Some(Hindrance::NotCouch)),
        Some(version) if version < FIRST_VERSION => return Ok(Some(Hindrance::TooOld)),
        Some(_) => {}
    }
    let acting = Acting {
        name: databases.public_user().to_owned(),
        roles: vec![ROLE.to_owned()],
    };
    let session = async |credential| match client.ask_as(credential, "/_session").await?.good() {
        Ok(session) => Ok(Some(session)),
        Err(StoreError::Away) => Err(StoreError::Away),
        Err(_) => Ok(None),
    };
    let named = |session: &Value| {
        session.pointer("/userCtx/name").and_then(Value::as_str) == Some(acting.name.as_str())
    };
    let taken = session(databases.credential(&acting)?).await?;
    let Some(taken) = taken.filter(named) else {
        return Ok(Some(Hindrance::Tokens));
    };
    // Of 1970.
    let ended = session(databases.credential_until(&acting, 1)?).await?;
    if ended.is_some_and(|ended| named(&ended)) {
        return Ok(Some(Hindrance::EndedTokens));
    }
    match roles_of(&taken).iter().any(|role| role == ROLE) {
        true => Ok(None),
        false => Ok(Some(Hindrance::Roles)),
    }
}

fn roles_of(session: &Value) -> Vec<String> {
    let roles = session.pointer("/userCtx/roles").and_then(Value::as_array);
    let roles = roles.into_iter().flatten();
    roles
        .filter_map(|role| Some(role.as_str()?.to_owned()))
        .collect()
}

/// The first two numbers of a version.
fn version_of(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split(['.', '-']).map(str::parse);
    let major = numbers.next()?.ok()?;
    let minor = numbers.next()?.ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_two_numbers_and_more() {
        assert_eq!(version_of("3.5.0"), Some((3, 5)));
        assert_eq!(version_of("3.1.0-rc1"), Some((3, 1)));
        assert!(version_of("3.0.1") < Some(FIRST_VERSION));
        assert!(version_of("10.0") > Some(FIRST_VERSION));
        assert_eq!([version_of("3"), version_of("new")], [None, None]);
    }
}
