//! Answers that a node signed: HTTP Message Signatures (RFC 9421) over content digests (RFC 9530), Ed25519.
//!
//! 1. The caller asks with `Accept-Signature` and the tag `adyton` ([`Asked`]).
//! 2. The node covers status, body, type, and the method, URI and body of the request ([`Answered::to_be_signed`]).
//! 3. Anyone who has the node's evidence checks it later, without the node ([`verify`]).
//!
//! Guarantees: both sides build the signed text with the same code; no credential is in it (no request header but
//! `Content-Digest` is covered). Refuses to know: clocks, sockets, private keys.

mod asked;
mod components;
mod digest;
mod stored;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sfv::{BareItem, Dictionary, InnerList, ListEntry, Parser};

use self::asked::has_text;
pub use self::asked::{Asked, AskedError};
use self::components::{
    ALGORITHM, Component, Covered, SignatureParameters, TAG, base, input, serialized,
};
pub use self::digest::{content_digest, content_digest_of, sha256_in};
pub use self::stored::{MAX_STORED_BYTES, StoredAnswer, StoredAnswerError};
use crate::binding::AnswerKey;

/// An answer as the node is about to send it.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The request's URI, with scheme and authority.
    pub target_uri: &'a str,
    /// The request's `Content-Digest`, if it had a body.
    pub request_digest: Option<&'a str>,
    /// The answer's status.
    pub status: u16,
    /// The answer's `Content-Type`, if it has one.
    pub content_type: Option<&'a str>,
    /// The answer's `Content-Digest`.
    pub content_digest: &'a str,
    /// Where the digest and the signature are sent.
    pub place: Place,
}

/// Where digest and signature stand in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the body, which was known whole.
    Headers,
    /// Behind the body (RFC 9110 section 6.5), which was not.
    Trailers,
}

/// A text that waits for its signature.
#[derive(Debug)]
pub struct ToBeSigned {
    label: String,
    input: String,
    base: String,
}

impl Answered<'_> {
    fn covered<'a>(&'a self, status: &'a str) -> Vec<Covered<'a>> {
        let digest = match self.place {
            Place::Headers => Component::ContentDigest,
            Place::Trailers => Component::ContentDigestTrailer,
        };
        let parts = [
            (Component::Status, Some(status)),
            (digest, Some(self.content_digest)),
            (Component::ContentType, self.content_type),
            (Component::Method, Some(self.method)),
            (Component::TargetUri, Some(self.target_uri)),
            (Component::RequestDigest, self.request_digest),
        ];
        let covered = parts.into_iter().filter_map(|(component, value)| {
            let value = value?;
            Some(Covered { component, value })
        });
        covered.collect()
    }

    /// What has to be signed, as it was asked for. None for values that no field can hold.
    #[must_use]
    pub fn to_be_signed(
        &self,
        asked: &Asked,
        created: SystemTime,
        key: &AnswerKey,
    ) -> Option<ToBeSigned> {
        let status = self.status.to_string();
        let covered = self.covered(&status);
        let since = created.duration_since(UNIX_EPOCH).ok()?;
        let parameters = SignatureParameters {
            created: i64::try_from(since.as_secs()).ok()?,
            key_id: &key.id(),
            nonce: asked.nonce.as_deref(),
        };
        let input = serialized(input(&covered, &parameters)?)?;
        Some(ToBeSigned {
            label: asked.label.clone(),
            base: base(&covered, &input),
            input,
        })
    }
}

impl ToBeSigned {
    /// The signature base: what the key signs.
    #[must_use]
    pub fn base(&self) -> &[u8] {
        self.base.as_bytes()
    }

    /// The values of `Signature-Input` and `Signature`.
    #[must_use]
    pub fn fields(&self, signature: &[u8]) -> (String, String) {
        let Self { label, input, .. } = self;
        let signature = STANDARD.encode(signature);
        (format!("{label}={input}"), format!("{label}=:{signature}:"))
    }
}

/// Proof that the holder of an answer key gave exactly this answer to exactly this request.
///
/// No public constructor: it comes from [`verify`] alone.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct VerifiedAnswer {
    created: SystemTime,
    nonce: Option<String>,
}

impl VerifiedAnswer {
    /// When the node says that it signed.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        self.created
    }

    /// The caller's nonce, if it sent one.
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }
}

/// Checks a stored answer against the key that evidence vouches for ([`crate::Appraised::answer_key`]).
///
/// Pure. In order: one signature with our tag, by this key, with Ed25519; it covers all that the exchange has; both digests
/// are those of the bodies; the signature holds.
///
/// # Errors
/// [`SignedAnswerError`] names the first thing that does not hold.
pub fn verify(answer: &StoredAnswer, key: &AnswerKey) -> Result<VerifiedAnswer, SignedAnswerError> {
    // 1. Where the signature is.
    let (fields, place) = match answer.trailers.contains_key("signature-input") {
        true => (&answer.trailers, Place::Trailers),
        false => (&answer.headers, Place::Headers),
    };
    let field = |name: &'static str| {
        let value = fields.get(name).map(String::as_str);
        value.ok_or(SignedAnswerError::Missing { field: name })
    };
    let (label, list) = ours(field("signature-input")?)?;
    let signature = signature_of(field("signature")?, &label)?;

    // 2. Who signed, and with what.
    if !has_text(&list, "keyid", &key.id()) {
        return Err(SignedAnswerError::Key);
    }
    if !has_text(&list, "alg", ALGORITHM) {
        return Err(SignedAnswerError::Algorithm);
    }
    let created = list.params.get("created").and_then(BareItem::as_integer);
    let created = created.and_then(|created| u64::try_from(i64::from(created)).ok());
    let created = created.and_then(|created| UNIX_EPOCH.checked_add(Duration::from_secs(created)));
    let created = created.ok_or(SignedAnswerError::Parameters)?;
    let nonce = match list.params.get("nonce") {
        None => None,
        Some(BareItem::String(nonce)) => Some(nonce.as_str().to_owned()),
        Some(_) => return Err(SignedAnswerError::Parameters),
    };

    // 3. What it covers: all that the exchange has, in our order, and nothing else.
    let answered = Answered {
        method: &answer.method,
        target_uri: &answer.target_uri,
        request_digest: answer.request_digest.as_deref(),
        status: answer.status,
        content_type: answer.headers.get("content-type").map(String::as_str),
        content_digest: field("content-digest")?,
        place,
    };
    let status = answered.status.to_string();
    let covered = answered.covered(&status);
    let listed: Option<Vec<_>> = list.items.iter().map(Component::of).collect();
    let expected: Vec<_> = covered.iter().map(|part| part.component).collect();
    if listed.as_ref() != Some(&expected) {
        return Err(SignedAnswerError::Coverage);
    }
    // A line break would be a line of its own in the signed text.
    if covered
        .iter()
        .any(|part| part.value.bytes().any(|byte| byte.is_ascii_control()))
    {
        return Err(SignedAnswerError::Value);
    }

    // 4. The digests are those of the bodies.
    if answered.content_digest != content_digest(&answer.body) {
        return Err(SignedAnswerError::Body);
    }
    let request_digest = answer.request_digest.as_deref().map(sha256_in);
    let request_holds = match request_digest {
        None => answer.request_body.is_empty(),
        Some(digest) => digest == Some(crate::binding::sha256(&answer.request_body)),
    };
    if !request_holds {
        return Err(SignedAnswerError::RequestBody);
    }

    // 5. The signature.
    let input = serialized(list).ok_or(SignedAnswerError::Malformed)?;
    UnparsedPublicKey::new(&ED25519, key.as_bytes())
        .verify(base(&covered, &input).as_bytes(), &signature)
        .map_err(|_| SignedAnswerError::Signature)?;
    Ok(VerifiedAnswer { created, nonce })
}

/// The one member of `Signature-Input` with our tag.
fn ours(field: &str) -> Result<(String, InnerList), SignedAnswerError> {
    let inputs: Dictionary = Parser::new(field)
        .parse()
        .map_err(|_| SignedAnswerError::Malformed)?;
    let mut ours = inputs
        .into_iter()
        .filter_map(|(label, member)| match member {
            ListEntry::InnerList(list) if has_text(&list, "tag", TAG) => Some((label, list)),
            ListEntry::InnerList(_) | ListEntry::Item(_) => None,
        });
    match (ours.next(), ours.next()) {
        (Some((label, list)), None) => Ok((label.as_str().to_owned(), list)),
        _ => Err(SignedAnswerError::Tag),
    }
}

fn signature_of(field: &str, label: &str) -> Result<Vec<u8>, SignedAnswerError> {
    let signatures: Dictionary = Parser::new(field)
        .parse()
        .map_err(|_| SignedAnswerError::Malformed)?;
    match signatures.get(label) {
        Some(ListEntry::Item(item)) => match &item.bare_item {
            BareItem::ByteSequence(bytes) => Ok(bytes.clone()),
            _ => Err(SignedAnswerError::Malformed),
        },
        _ => Err(SignedAnswerError::Malformed),
    }
}

/// Why an answer proves nothing. The fault is the answer's, or that of whoever stored it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedAnswerError {
    /// A field is not there.
    #[error("the answer has no {field}")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A field is not of its type.
    #[error("the answer's signature fields are malformed")]
    Malformed,
    /// None of ours, or several.
    #[error("the answer does not have exactly one signature with the tag \"{TAG}\"")]
    Tag,
    /// By somebody else.
    #[error("the answer is signed by another key than the evidence vouches for")]
    Key,
    /// Not Ed25519.
    #[error("the answer is signed with another algorithm than {ALGORITHM}")]
    Algorithm,
    /// No time, or a nonce that is no text.
    #[error("the answer's signature has no time, or a parameter of another type")]
    Parameters,
    /// Too little, too much, or in another order.
    #[error("the answer's signature does not cover what it has to")]
    Coverage,
    /// A control character.
    #[error("a covered value has a control character in it")]
    Value,
    /// Another body.
    #[error("the answer's body is not the one that was signed")]
    Body,
    /// Another request.
    #[error("the request's body is not the one that was answered")]
    RequestBody,
    /// The last word.
    #[error("the answer's signature does not hold")]
    Signature,
}

#[cfg(test)]
mod tests;
