//! `verida://` URIs of single records (`spec/protocol.md` §19.1).

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What ECMAScript `encodeURI` escapes among the ASCII characters.
const ENCODE_URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Longest accepted URI, in bytes.
pub const MAX_URI_BYTES: usize = 16 * 1024;

/// A reference to a record, or to a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordUri {
    /// The owner's DID as written.
    pub did: String,
    /// The network name.
    pub network: String,
    /// The context. A name with `/` does not survive the format.
    pub context: String,
    /// The database name.
    pub database: String,
    /// The record, if one is named.
    pub record: Option<String>,
    /// Path into the record.
    pub attributes: Vec<String>,
    /// The `key` query parameter, hex.
    pub key_hex: Option<String>,
}

/// The text is not such a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a verida:// URI")]
pub struct InvalidUri;

impl RecordUri {
    /// Parses the plain form.
    pub fn parse(text: &str) -> Result<Self, InvalidUri> {
        if text.len() > MAX_URI_BYTES {
            return Err(InvalidUri);
        }
        let rest = text.strip_prefix("verida://").ok_or(InvalidUri)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parts = path.split('/').map(str::to_owned);
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let (did, network) = (next().ok_or(InvalidUri)?, next().ok_or(InvalidUri)?);
        let context = next().ok_or(InvalidUri)?;
        let context = percent_decode_str(&context)
            .decode_utf8()
            .map_err(|_| InvalidUri)?
            .into_owned();
        let database = next().ok_or(InvalidUri)?;
        let record = next();
        let attributes = parts.collect();
        let key_hex = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("key="))
            .map(str::to_owned);
        Ok(Self {
            did,
            network,
            context,
            database,
            record,
            attributes,
            key_hex,
        })
    }

    /// Parses the short form: base58 of the plain form.
    pub fn parse_base58(text: &str) -> Result<Self, InvalidUri> {
        if text.len() > MAX_URI_BYTES {
            return Err(InvalidUri);
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| InvalidUri)?;
        Self::parse(std::str::from_utf8(&bytes).map_err(|_| InvalidUri)?)
    }

    /// The short form.
    pub fn to_base58(&self) -> String {
        bs58::encode(self.to_string().as_bytes()).into_string()
    }

    /// The short form behind the public resolver's address.
    pub fn to_web_address(&self) -> String {
        format!("https://data.verida.network/{}", self.to_base58())
    }
}

impl std::fmt::Display for RecordUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let context = utf8_percent_encode(&self.context, ENCODE_URI);
        write!(
            f,
            "verida://{}/{}/{context}/{}",
            self.did, self.network, self.database
        )?;
        for part in self.record.iter().chain(&self.attributes) {
            write!(f, "/{part}")?;
        }
        match &self.key_hex {
            Some(key) => write!(f, "?key={key}"),
            None => Ok(()),
        }
    }
}
