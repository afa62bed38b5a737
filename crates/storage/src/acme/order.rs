//! One try: an account, an order, the answers to the authority's questions, a certificate (RFC 8555, §7.3 to §7.4).
//!
//! Guarantees: nothing is answered for a name that was not asked for; the answers are gone when the try ends, however it ends; a
//! certificate that is not for all names, not of our key or over already is not taken. Every certificate has a new key.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount,
    NewOrder, OrderStatus,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize, Zeroizing};

use super::AcmeConfig;
use super::kept::Kept;
use super::way_out::WayOut;
use crate::certificate_life::CertificateLife;
use crate::clock::Clock;
use crate::tls::{Certificates, Pair, TlsError, chain, pair};

/// The longest pause between two questions about an order.
const LONGEST_POLL: Duration = Duration::from_secs(60);
/// Characters of an authority's words that are told.
const MAX_QUOTE: usize = 300;
/// After a certificate was made that cannot be taken: an authority makes few of the same names (Let's Encrypt: one in 34 hours).
const UNUSABLE_PAUSE: Duration = Duration::from_secs(34 * 3_600);
/// The account is not known any more (RFC 8555, §6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// The try brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcmeError {
    #[error("the authority refuses: {0}")]
    Refused(String),
    #[error("asking the authority failed: {0}")]
    Failed(String),
    #[error("the authority asks about something else than the names that it was asked for")]
    Strange,
    #[error("the authority offers no tls-alpn-01 for a name")]
    NoChallenge,
    #[error("the authority did not get ready in time")]
    TooLong,
    #[error("the try broke off")]
    Broken,
    #[error("a key or a request could not be made: {0}")]
    Making(#[from] rcgen::Error),
    #[error("an answer to the authority could not be made: {0}")]
    Answer(#[source] rustls::Error),
    #[error("the account could not be kept: {0}")]
    Keeping(#[from] std::io::Error),
    #[error("the certificate that was made is of no use: {0}")]
    Useless(#[from] TlsError),
    #[error("the certificate that was made is not for {0}")]
    NotFor(String),
    #[error("the certificate that was made is over already")]
    Over,
}

impl AcmeError {
    /// The shortest pause that it wants.
    pub(super) fn least_pause(&self) -> Duration {
        match self {
            Self::Useless(_) | Self::NotFor(_) | Self::Over => UNUSABLE_PAUSE,
            Self::Refused(_)
            | Self::Failed(_)
            | Self::Strange
            | Self::NoChallenge
            | Self::TooLong
            | Self::Broken
            | Self::Making(_)
            | Self::Answer(_)
            | Self::Keeping(_) => Duration::ZERO,
        }
    }
}

impl From<instant_acme::Error> for AcmeError {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) => Self::Refused(quoted(&problem)),
            other => Self::Failed(quoted(&other)),
        }
    }
}

/// What the authority made.
pub(super) struct Issued {
    /// Key and chain.
    pub(super) pem: Zeroizing<String>,
    pub(super) pair: Pair,
    pub(super) life: CertificateLife,
}

/// What a try needs.
pub(super) struct Order {
    pub(super) config: Arc<AcmeConfig>,
    pub(super) kept: Arc<Kept>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) way_out: WayOut,
    pub(super) clock: Clock,
}

impl Order {
    /// Asks, answers, waits, and takes.
    pub(super) async fn place(self) -> Result<Issued, AcmeError> {
        let mut order = self.begin().await?;
        if order.state().authorizations.len() > self.config.names.len() {
            return Err(AcmeError::Strange);
        }
        let mut laid_out = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            match authorization.status {
                // Of an order before.
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => return Err(AcmeError::Refused(format!("a name is {other:?}"))),
            }
            let name = match authorization.identifier().identifier {
                Identifier::Dns(name) if !authorization.wildcard => name.to_ascii_lowercase(),
                _ => return Err(AcmeError::Strange),
            };
            let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
            let mut challenge = challenge.ok_or(AcmeError::NoChallenge)?;
            let answer = answer(&name, challenge.key_authorization().digest().as_ref())?;
            let lies = self.certificates.challenge(&name, answer);
            laid_out.push(lies.ok_or(AcmeError::Strange)?);
            challenge.set_ready().await?;
        }
        self.settled(&mut order, OrderStatus::Pending).await?;
        drop(laid_out);
        let key = Zeroizing::new(KeyPair::generate()?);
        if order.state().status == OrderStatus::Ready {
            let mut params = CertificateParams::new(self.config.names.clone())?;
            params.distinguished_name = DistinguishedName::new();
            let request = params.serialize_request(&*key)?;
            order.finalize_csr(request.der()).await?;
            self.settled(&mut order, OrderStatus::Processing).await?;
        }
        let made = order.certificate().await?;
        let made = made.ok_or(AcmeError::TooLong)?;
        self.judged(&key, made.as_bytes())
    }

    /// An account that the authority knows, and a new order.
    async fn begin(&self) -> Result<instant_acme::Order, AcmeError> {
        let names = self.config.names.iter().cloned();
        let names: Vec<_> = names.map(Identifier::Dns).collect();
        let kept = Arc::clone(&self.kept);
        let known = blocking(move || kept.account()).await?;
        if let Some(known) = known {
            let account = Account::builder_with_http(Box::new(self.way_out.clone()));
            let account = account.from_credentials(known).await?;
            match account.new_order(&NewOrder::new(&names)).await {
                Err(instant_acme::Error::Api(problem))
                    if problem.r#type.as_deref() == Some(NO_ACCOUNT) =>
                {
                    tracing::warn!(
                        "the authority does not know the account any more: another one is made"
                    );
                }
                other => return Ok(other?),
            }
        }
        Ok(self
            .account()
            .await?
            .new_order(&NewOrder::new(&names))
            .await?)
    }

    /// A new account, which is kept before it is used.
    async fn account(&self) -> Result<Account, AcmeError> {
        let external = self.config.external_account.as_ref();
        let external = external
            .map(|account| instant_acme::ExternalAccountKey::new(account.id.clone(), &account.key));
        let contact: Vec<&str> = self.config.contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials): (Account, AccountCredentials) =
            Account::builder_with_http(Box::new(self.way_out.clone()))
                .create(&new, self.config.directory.to_string(), external.as_ref())
                .await?;
        let kept = Arc::clone(&self.kept);
        blocking(move || kept.keep_account(&credentials)).await?;
        Ok(account)
    }

    /// Asks until the order is further than that. The whole try has a time.
    async fn settled(
        &self,
        order: &mut instant_acme::Order,
        waiting: OrderStatus,
    ) -> Result<(), AcmeError> {
        loop {
            let state = order.state();
            if let Some(problem) = &state.error {
                return Err(AcmeError::Refused(quoted(problem)));
            }
            match state.status {
                OrderStatus::Invalid => return Err(why_not(order).await),
                status if status != waiting && status != OrderStatus::Processing => return Ok(()),
                _ => {}
            }
            let pause = self.way_out.pause().unwrap_or(self.config.pace.poll);
            tokio::time::sleep(pause.max(self.config.pace.poll).min(LONGEST_POLL)).await;
            order.refresh().await?;
        }
    }

    /// What was made, if it is what was asked for.
    fn judged(&self, key: &KeyPair, made: &[u8]) -> Result<Issued, AcmeError> {
        let chain = chain(made)?;
        let size = chain
            .iter()
            .map(|one| one.len() * 3 / 2 + 128)
            .sum::<usize>();
        // Room for all of it at once, so that no copy of the key is left behind.
        let mut pem = Zeroizing::new(String::with_capacity(size + 1_024));
        armor(&mut pem, "PRIVATE KEY", key.serialized_der());
        for one in &chain {
            armor(&mut pem, "CERTIFICATE", one);
        }
        let pair = pair(chain, pem.as_bytes())?;
        is_for(&pair, &self.config.names)?;
        match pair.life {
            Some(life) if life.ends > self.clock.unix_seconds() => Ok(Issued { pem, pair, life }),
            _ => Err(AcmeError::Over),
        }
    }
}

/// Whether the certificate is for all of these names.
pub(super) fn is_for(pair: &Pair, names: &[String]) -> Result<(), AcmeError> {
    let own: Option<&CertificateDer<'_>> = pair.key.cert.first();
    let own = own.ok_or(AcmeError::Useless(TlsError::Pem("certificate")))?;
    let parsed = ParsedCertificate::try_from(own).map_err(TlsError::Pair)?;
    for name in names {
        let asked = ServerName::try_from(name.as_str()).ok();
        let asked = asked.filter(|asked| verify_server_name(&parsed, asked).is_ok());
        asked.ok_or_else(|| AcmeError::NotFor(name.clone()))?;
    }
    Ok(())
}

/// The certificate that answers the question about a name (RFC 8737, §3).
fn answer(name: &str, digest: &[u8]) -> Result<CertifiedKey, AcmeError> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = Zeroizing::new(KeyPair::generate()?);
    let made = params.self_signed(&*key)?;
    let mut secret = PrivateKeyDer::Pkcs8(key.serialized_der().to_vec().into());
    let signing = any_ecdsa_type(&secret);
    secret.zeroize();
    let signing = signing.map_err(AcmeError::Answer)?;
    Ok(CertifiedKey::new(vec![made.der().clone()], signing))
}

/// What the authority found wrong with an answer, if it says so.
async fn why_not(order: &mut instant_acme::Order) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            break;
        };
        let problem = state.challenges.iter().find_map(|one| one.error.as_ref());
        if let Some(problem) = problem {
            return AcmeError::Refused(quoted(problem));
        }
    }
    AcmeError::Refused("the order is not valid".to_owned())
}

/// An authority's words, as far as a log can take them.
fn quoted(words: &impl ToString) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    words
        .to_string()
        .chars()
        .map(plain)
        .take(MAX_QUOTE)
        .collect()
}

/// PEM (RFC 7468).
fn armor(text: &mut String, label: &str, der: &[u8]) {
    let base64 = Zeroizing::new(BASE64_STANDARD.encode(der));
    text.extend(["-----BEGIN ", label, "-----\n"]);
    let mut rest = base64.as_str();
    while let Some((line, more)) = rest.split_at_checked(64) {
        text.extend([line, "\n"]);
        rest = more;
    }
    if !rest.is_empty() {
        text.extend([rest, "\n"]);
    }
    text.extend(["-----END ", label, "-----\n"]);
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await?
}

#[cfg(test)]
mod tests {
    use instant_acme::Problem;

    use super::*;

    #[test]
    fn an_authoritys_words_are_told_in_one_short_line() {
        let problem = Problem {
            r#type: Some("urn:x".to_owned()),
            detail: Some(format!("first\nsecond\u{1b}[31m{}", "x".repeat(1_000))),
            status: Some(400),
            subproblems: Vec::new(),
        };
        let told = AcmeError::from(instant_acme::Error::Api(problem)).to_string();
        assert!(told.starts_with("the authority refuses: API error: first second [31mxx"));
        assert!(told.chars().count() < MAX_QUOTE + 40 && !told.contains('\n'));
    }

    #[test]
    fn what_is_written_is_read_again_as_it_was() {
        for name in ["a.example", "a.name.that.is.a.little.longer.example"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let made = params.self_signed(&key).unwrap();
            let mut pem = String::new();
            armor(&mut pem, "PRIVATE KEY", key.serialized_der());
            armor(&mut pem, "CERTIFICATE", made.der());
            assert!(pem.lines().all(|line| line.len() <= 64));
            let pair = pair(chain(pem.as_bytes()).unwrap(), pem.as_bytes()).unwrap();
            assert_eq!(pair.key.cert, vec![made.der().clone()]);
            is_for(&pair, &[name.to_owned()]).unwrap();
            let other = is_for(&pair, &[name.to_owned(), "b.example".to_owned()]);
            assert!(matches!(other, Err(AcmeError::NotFor(name)) if name == "b.example"));
        }
    }
}
