//! A certificate from an authority that speaks ACME (RFC 8555), asked for by the node itself, and renewed in time.
//!
//! 1. What was made before lies in the data directory, and is shown at once ([`kept`]); by another authority, until this one has made one.
//! 2. When two thirds of its life are over, or there is none, the authority is asked ([`order`]), which looks for the node's answer
//!    on the node's own listener (TLS-ALPN-01, RFC 8737), by way of [`Certificates`].
//! 3. A try that fails leaves everything as it was, and the next one waits: minutes, then hours, over restarts too ([`schedule`]).
//!
//! Guarantees: only the authority's directory decides where requests go, and only as far as the way out lets them; nothing that the
//! authority says ends more than the try. Refuses to know: connections and requests of clients.

mod kept;
mod order;
mod schedule;
mod table;
mod way_out;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;
use zeroize::Zeroizing;

pub use self::table::AcmeTable;

use self::kept::Kept;
use self::order::{AcmeError, Issued};
use self::schedule::Attempts;
use self::way_out::WayOut;
use crate::clock::Clock;
use crate::storage::StartError;
use crate::store::{StoreError, random};
use crate::tls::{Certificates, Pair, TlsError};

/// Let's Encrypt's.
const DEFAULT_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Names of one certificate.
const MAX_NAMES: usize = 100;
/// The longest that one try may take.
const TRY_TIME: Duration = Duration::from_secs(10 * 60);

/// Who is asked for a certificate, and for what. That there is one says that the operator agreed to the authority's terms.
#[derive(Debug, Clone)]
pub struct AcmeConfig {
    /// Names that the certificate is for: of hosts, in lower case, all leading to this node.
    pub names: Vec<String>,
    /// The authority's directory.
    pub directory: Url,
    /// Where the authority may write to: `mailto:…`.
    pub contact: Option<String>,
    /// What the authority's own server is verified against. None: the roots of the WebPKI.
    pub roots: Option<RootCertStore>,
    /// Whether the directory may be on this machine or in a private network.
    pub allow_private: bool,
    /// The operator's account with the authority, where it wants one beforehand (RFC 8555, §7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// How fast.
    pub pace: AcmePace,
}

impl AcmeConfig {
    /// A certificate of Let's Encrypt's, whose terms the operator agreed to.
    pub fn new(names: Vec<String>, directory: Option<Url>) -> Option<Self> {
        let default = || Url::parse(DEFAULT_DIRECTORY).ok();
        Some(Self {
            names,
            directory: directory.or_else(default)?,
            contact: None,
            roots: None,
            allow_private: false,
            external_account: None,
            pace: AcmePace::default(),
        })
    }
}

/// An account that the authority knows the operator by.
#[derive(Clone)]
pub struct ExternalAccount {
    /// Its name for the key.
    pub id: String,
    /// The key itself.
    pub key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExternalAccount(..)")
    }
}

/// How fast. No configuration says so: the default is within the limits of Let's Encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcmePace {
    /// How often the clock is looked at.
    pub look: Duration,
    /// The pause after the first failure. Each further one is four times as long, up to twelve hours.
    pub first_pause: Duration,
    /// The pause between two questions about an order, if the authority wants no longer one.
    pub poll: Duration,
    /// The longest wait for an answer.
    pub answer: Duration,
}

impl Default for AcmePace {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(60),
            first_pause: Duration::from_secs(120),
            poll: Duration::from_secs(2),
            answer: Duration::from_secs(30),
        }
    }
}

/// Keeps a node's certificate new.
pub(crate) struct Acme {
    config: Arc<AcmeConfig>,
    kept: Arc<Kept>,
    certificates: Arc<Certificates>,
    /// Whether this authority has made none of what is shown at first: it is asked at once.
    is_borrowed: bool,
    way_out: WayOut,
    clock: Clock,
}

impl Acme {
    /// Reads what was kept in the node's directory. May block.
    pub(crate) fn open(config: AcmeConfig, data: &Path, clock: Clock) -> Result<Self, StartError> {
        let kept = Kept::open(data, &config.directory).map_err(StartError::Directory)?;
        let pair = kept.pair().unwrap_or_else(|error| {
            tracing::warn!(%error, "the certificate that was kept cannot be used: another one is asked for");
            None
        });
        let is_borrowed = pair.is_none();
        let pair = pair.or_else(|| borrowed(&kept, &config, clock.unix_seconds()));
        let certificates = Certificates::asked_for(config.names.iter().cloned(), pair);
        Ok(Self {
            way_out: WayOut::new(&config, clock.clone()).map_err(TlsError::Authority)?,
            config: Arc::new(config),
            kept: Arc::new(kept),
            certificates: Arc::new(certificates),
            is_borrowed,
            clock,
        })
    }

    /// The first name of the certificate.
    pub(crate) fn name(&self) -> &str {
        self.config
            .names
            .first()
            .map_or("localhost", String::as_str)
    }

    pub(crate) fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.certificates)
    }

    /// Renews the certificate whenever it is due, until `stop` says otherwise.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.renew_for_ever() => {}
        }
    }

    async fn renew_for_ever(self) {
        let mut attempts = self.attempts().await;
        let shown = self.certificates.shown().filter(|_| !self.is_borrowed);
        let mut renewal = self.renewal(shown.as_ref());
        let now = self.clock.unix_seconds();
        let waiting = attempts.due(renewal) <= now && attempts.may_begin(false) > now;
        if waiting {
            let seconds = attempts.may_begin(false).saturating_sub(now);
            tracing::warn!(
                failures = attempts.failures(),
                next_try_in_seconds = seconds,
                "the authority made no certificate before this start: it is asked again after a pause, or after SIGHUP"
            );
        }
        let mut pushed = false;
        loop {
            let now = self.clock.unix_seconds();
            attempts.keep_to(now);
            let due = attempts.due(renewal);
            let next = due.max(attempts.may_begin(pushed));
            if let Some(wait) = next.checked_sub(now).filter(|wait| *wait > 0) {
                tokio::select! {
                    () = tokio::time::sleep(self.config.pace.look.min(Duration::from_secs(wait))) => {}
                    () = self.certificates.asked_now() => pushed = due <= now,
                }
                continue;
            }
            pushed = false;
            if let Some(pair) = self.attempt(&mut attempts, now).await {
                renewal = self.renewal(Some(&pair));
            }
        }
    }

    /// One try, which is counted before it is made: what ends the node in the middle of it counts as a failure.
    async fn attempt(&self, attempts: &mut Attempts, now: u64) -> Option<Pair> {
        attempts.begin(now, self.config.pace.first_pause, random_number());
        let written = attempts.clone();
        if let Err(error) = self.keeping(move |kept| kept.keep_attempts(&written)).await {
            // What cannot be written down now could not be kept either, and would be asked for again and again.
            self.certificates.failed();
            tracing::error!(%error, "no certificate is asked for: the data directory cannot be written");
            return None;
        }
        match self.issue().await {
            Ok(issued) => Some(self.take(issued, attempts).await),
            Err(error) => {
                self.certificates.failed();
                let now = self.clock.unix_seconds();
                attempts.failed(now, error.least_pause(), self.way_out.not_before());
                let written = attempts.clone();
                if let Err(error) = self.keeping(move |kept| kept.keep_attempts(&written)).await {
                    tracing::error!(%error, "the data directory cannot be written");
                }
                let seconds = attempts.may_begin(false).saturating_sub(now);
                tracing::warn!(%error, failures = attempts.failures(), next_try_in_seconds = seconds, "the authority made no certificate: what is shown stays as it was");
                None
            }
        }
    }

    /// In a task of its own: whatever the authority sends, the worst that it can do is to end this try.
    async fn issue(&self) -> Result<Issued, AcmeError> {
        let order = order::Order {
            config: Arc::clone(&self.config),
            kept: Arc::clone(&self.kept),
            certificates: Arc::clone(&self.certificates),
            way_out: self.way_out.begin(),
            clock: self.clock.clone(),
        };
        let mut task = JoinSet::new();
        task.spawn(tokio::time::timeout(TRY_TIME, order.place()));
        match task.join_next().await {
            Some(Ok(Ok(issued))) => issued,
            Some(Ok(Err(_))) => Err(AcmeError::TooLong),
            Some(Err(_)) | None => Err(AcmeError::Broken),
        }
    }

    async fn take(&self, issued: Issued, attempts: &mut Attempts) -> Pair {
        let Issued { pem, pair, life } = issued;
        attempts.succeeded(self.clock.unix_seconds(), life);
        let written = attempts.clone();
        let kept = self.keeping(move |kept| {
            kept.keep_pair(&pem)?;
            kept.keep_attempts(&written)
        });
        if let Err(error) = kept.await {
            // What is written of this try still counts it as a failure: the next start waits as after one.
            tracing::error!(%error, "the certificate is shown, and could not be kept");
        }
        self.certificates.show(pair.clone());
        let names = self.config.names.join(", ");
        tracing::info!(
            names,
            until = life.ends,
            "another certificate is shown from now on"
        );
        pair
    }

    /// When this one is old, in seconds since 1970. None: it is not what is wanted.
    fn renewal(&self, shown: Option<&Pair>) -> Option<u64> {
        let pair = shown.filter(|pair| order::is_for(pair, &self.config.names).is_ok());
        let life = pair.and_then(|pair| pair.life);
        life.map(|life| schedule::renewal(life, random_number()))
    }

    async fn attempts(&self) -> Attempts {
        let read = self.keeping(Kept::attempts).await;
        let read = read.unwrap_or_else(|error| {
            tracing::warn!(%error, "what was written of earlier tries cannot be read");
            None
        });
        let mine = read.filter(|attempts| attempts.are_for(&self.config.names));
        mine.unwrap_or_else(|| Attempts::new(&self.config.names))
    }

    async fn keeping<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Kept) -> std::io::Result<T> + Send + 'static,
    ) -> std::io::Result<T> {
        let kept = Arc::clone(&self.kept);
        tokio::task::spawn_blocking(move || work(&kept)).await?
    }
}

/// Another authority's certificate, until this one has made its first: for all names, not over, and of these the one that lasts.
fn borrowed(kept: &Kept, config: &AcmeConfig, now: u64) -> Option<Pair> {
    let others = kept.pairs_of_others().into_iter().filter_map(|pair| {
        let ends = pair.life.filter(|life| life.ends > now)?.ends;
        order::is_for(&pair, &config.names).ok()?;
        Some((ends, pair))
    });
    let (_, pair) = others.max_by_key(|(ends, _)| *ends)?;
    tracing::info!("until this authority has made a certificate, another one's is shown");
    Some(pair)
}

/// For pauses. Without randomness there is none in them.
fn random_number() -> u64 {
    let bytes: Result<[u8; 8], StoreError> = random();
    bytes.map_or(0, u64::from_be_bytes)
}
