//! A sandbox with an owner, who has something to protect, and everyone who should not get it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adyton_client::clock::Clock;
use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::context::ContextName;
use adyton_protocol::schema::SchemaUri;
use adyton_protocol::scope::ApiScope;
use adyton_sandbox::cluster::NETWORK;
use adyton_sandbox::{Options, Sandbox};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::caller::{Answer, Caller};
use crate::table::{Guard, Kind, Reach, Right};

/// The schema and database of most requests.
pub const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
pub const EMAIL_DATABASE: &str = "social_email";
