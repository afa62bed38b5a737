//! `/status`, and the greetings of the CouchDB side.

use http::StatusCode;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::App;
use super::asked::Head;
use super::reply::{self, Reply};
use crate::access::Principal;

/// The version of the original's interface that this node speaks.
const INTERFACE_VERSION: &str = "4.0.0";

impl App {
    pub(super) async fn status(&self) -> Reply {
        let accounts = match self.records.account_count().await {
            Ok(accounts) => accounts,
            Err(error) => return reply::fault(&error),
        };
        let seconds = self.clock.unix_seconds();
        let free = self.limits.accounts.saturating_sub(accounts);
        let proof = self.identity.sign_message(&format!(
            "{}/{free}/{seconds}",
            self.identity.address().checksummed()
        ));
        let started = i64::try_from(seconds)
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .and_then(|time| time.format(&Rfc3339).ok());
        reply::signed(
            &self.identity,
            json!({"results": {
                "maxStorageSlots": self.limits.accounts,
                "maxUsers": self.limits.accounts,
                "storageSlotsUsed": accounts,
                "currentUsers": accounts,
                "metrics": {},
                "version": INTERFACE_VERSION,
                "software": concat!("adyton-storage/", env!("CARGO_PKG_VERSION")),
                "publicKey": self.identity.public_key_hex(),
                "couchUri": self.public_url,
                "availableSlotsProof": proof.to_string(),
                "timestamp": seconds,
                "buildTimestamp": started,
            }}),
        )
    }

    pub(super) fn welcome(&self) -> Reply {
        reply::json(
            StatusCode::OK,
            &json!({
                "couchdb": "Welcome",
                "version": "3.5.0",
                "uuid": self.uuid,
                "features": [],
                "vendor": {"name": "Adyton", "version": env!("CARGO_PKG_VERSION")},
            }),
        )
    }

    pub(super) fn couch_session(&self, head: &Head) -> Reply {
        let (name, authenticated) = match head.principal() {
            Ok(Principal::User(user)) => (Some(user.account()), Some("jwt")),
            Ok(Principal::Public) => (Some(self.auth.public().username.clone()), Some("default")),
            Ok(Principal::Peer(peer)) => (Some(peer.name.clone()), Some("default")),
            Ok(Principal::Anonymous) => (None, None),
            Err(refusal) => return reply::couch_error(&refusal),
        };
        let mut info = json!({"authentication_handlers": ["jwt", "default"]});
        if let (Some(authenticated), Some(members)) = (authenticated, info.as_object_mut()) {
            members.insert("authenticated".to_owned(), authenticated.into());
        }
        let session = json!({"ok": true, "userCtx": {"name": name, "roles": []}, "info": info});
        reply::json(StatusCode::OK, &session)
    }
}
