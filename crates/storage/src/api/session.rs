//! `/auth/*`: the ways to a token.

use adyton_protocol::context::ContextName;
use adyton_protocol::did::Did;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::asked::Asked;
use super::reply::{self, Reply};
use crate::auth::{AuthError, MAX_DEVICE_ID_BYTES};

/// What the calls of this side send; each uses its part.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Call {
    did: Option<String>,
    context_name: Option<String>,
    auth_jwt: Option<String>,
    refresh_token: Option<String>,
    signature: Option<String>,
    device_id: Option<String>,
}

impl Call {
    fn did(&self) -> Option<Did> {
        self.did.as_deref()?.parse().ok()
    }

    fn context(&self) -> Option<ContextName> {
        ContextName::new(self.context_name.as_deref()?).ok()
    }

    fn device(&self) -> Result<Option<&str>, AuthError> {
        match self.device_id.as_deref() {
            Some(device) if device.len() > MAX_DEVICE_ID_BYTES => Err(AuthError::Refused),
            device => Ok(device.filter(|device| !device.is_empty())),
        }
    }
}

const INVALID_LOGIN: &str = "Invalid credentials or auth token";
const INVALID_REFRESH: &str = "Invalid refresh token or DID";
const INVALID_CONTEXT: &str = "Invalid refresh token or context name";

impl App {
    /// Not a word about the credential, which could not be checked: whoever retries may succeed.
    pub(super) fn later(&self, error: &AuthError) -> Reply {
        match error {
            AuthError::TooMany(refusal) => {
                self.metrics.throttled();
                refusal.middleware_reply()
            }
            _ => reply::fail(
                StatusCode::SERVICE_UNAVAILABLE,
                &AuthError::Unresolved.to_string(),
            ),
        }
    }

    pub(super) async fn generate_auth_jwt(&self, asked: Asked) -> Reply {
        let call: Call = match asked.call(self).await {
            Ok(call) => call,
            Err(refusal) => return refusal,
        };
        let (Some(did), Some(context)) = (call.did(), call.context()) else {
            return reply::fail(
                StatusCode::BAD_REQUEST,
                "A valid did and contextName are required",
            );
        };
        match self.auth.challenge(&did, &context) {
            Ok(challenge) => reply::signed(
                &self.identity,
                json!({"authJwt": {"authRequestId": challenge.request_id, "authJwt": challenge.token}}),
            ),
            Err(error) => reply::fault(&error),
        }
    }

    pub(super) async fn authenticate(&self, asked: Asked) -> Reply {
        let caller = asked.head.caller.clone();
        let call: Call = match asked.call(self).await {
            Ok(call) => call,
            Err(refusal) => return refusal,
        };
        let refused = || reply::fail(StatusCode::UNAUTHORIZED, INVALID_LOGIN);
        let (Some(did), Some(context), Some(challenge), Some(signature)) = (
            call.did(),
            call.context(),
            call.auth_jwt.as_deref(),
            call.signature.as_deref(),
        ) else {
            return refused();
        };
        let Ok(device) = call.device() else {
            return refused();
        };
        match self
            .auth
            .authenticate(&caller, challenge, &did, &context, signature, device)
            .await
        {
            Ok(tokens) => reply::success(json!({
                "refreshToken": tokens.refresh,
                "accessToken": tokens.access,
                "host": self.host,
            })),
            Err(AuthError::Refused) => refused(),
            Err(error @ (AuthError::Unresolved | AuthError::TooMany(_))) => self.later(&error),
            Err(error @ AuthError::Full) => {
                reply::fail(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
            }
            Err(AuthError::Store(error)) => reply::fault(&error),
        }
    }

    pub(super) async fn connect(&self, asked: Asked) -> Reply {
        let call: Call = match asked.call(self).await {
            Ok(call) => call,
            Err(refusal) => return refusal,
        };
        let refused = || reply::fail_did(StatusCode::UNAUTHORIZED, INVALID_REFRESH);
        let (Some(did), Some(context), Some(refresh)) =
            (call.did(), call.context(), call.refresh_token.as_deref())
        else {
            return refused();
        };
        match self.auth.connect(refresh, &did, &context).await {
            // An account that is full gets in: it must be able to read what it has, and to delete.
            Ok(access) => reply::success(json!({"accessToken": access, "host": self.host})),
            Err(AuthError::Store(error)) => reply::fault(&error),
            Err(error @ (AuthError::Unresolved | AuthError::TooMany(_))) => self.later(&error),
            Err(AuthError::Refused | AuthError::Full) => refused(),
        }
    }

    pub(super) async fn regenerate(&self, asked: Asked) -> Reply {
        let call: Call = match asked.call(self).await {
            Ok(call) => call,
            Err(refusal) => return refusal,
        };
        let refused = || reply::fail_did(StatusCode::UNAUTHORIZED, INVALID_CONTEXT);
        let (Some(context), Some(refresh)) = (call.context(), call.refresh_token.as_deref()) else {
            return refused();
        };
        match self.auth.regenerate(refresh, &context).await {
            Ok(token) => reply::success(json!({"refreshToken": token})),
            Err(AuthError::Store(error)) => reply::fault(&error),
            Err(error @ (AuthError::Unresolved | AuthError::TooMany(_))) => self.later(&error),
            Err(AuthError::Refused | AuthError::Full) => refused(),
        }
    }

    pub(super) async fn is_token_valid(&self, asked: Asked) -> Reply {
        let call: Call = match asked.call(self).await {
            Ok(call) => call,
            Err(refusal) => return refusal,
        };
        let refused = || reply::fail_bare(StatusCode::UNAUTHORIZED);
        let (Some(context), Some(refresh)) = (call.context(), call.refresh_token.as_deref()) else {
            return refused();
        };
        match self.auth.expiry(refresh, &context).await {
            Ok(expires) => reply::signed(&self.identity, json!({"expires": expires})),
            Err(AuthError::Store(error)) => reply::fault(&error),
            Err(error @ (AuthError::Unresolved | AuthError::TooMany(_))) => self.later(&error),
            Err(AuthError::Refused | AuthError::Full) => refused(),
        }
    }

    pub(super) async fn invalidate_device(&self, asked: Asked) -> Reply {
        let caller = asked.head.caller.clone();
        let call: Call = match asked.call(self).await {
            Ok(call) => call,
            Err(refusal) => return refusal,
        };
        let refused = || reply::fail_did(StatusCode::UNAUTHORIZED, INVALID_CONTEXT);
        let (Some(did), Some(context), Some(signature), Ok(Some(device))) = (
            call.did(),
            call.context(),
            call.signature.as_deref(),
            call.device(),
        ) else {
            return refused();
        };
        match self
            .auth
            .revoke_device(&caller, &did, &context, device, signature)
            .await
        {
            Ok(()) => reply::success(json!({})),
            Err(AuthError::Store(error)) => reply::fault(&error),
            Err(error @ (AuthError::Unresolved | AuthError::TooMany(_))) => self.later(&error),
            Err(AuthError::Refused | AuthError::Full) => refused(),
        }
    }

    pub(super) fn public(&self) -> Reply {
        let credential = self.auth.public();
        let (scheme, host) = self.host.split_once("://").unwrap_or(("http", &self.host));
        let dsn = format!(
            "{scheme}://{}:{}@{host}",
            credential.username, credential.password
        );
        reply::signed(
            &self.identity,
            json!({"user": {"username": credential.username, "password": credential.password, "dsn": dsn}}),
        )
    }
}
