//! The order of a boot, as types: each step takes the step before, and the listener takes the last.
//!
//! [`Timed`] (the clock is right) → [`Sealed`] (the configuration is measured, the registers are locked) → [`Keyed`] (the
//! keys were made) → [`crate::node::Node`] (bound). Whoever has a later one has been through all before it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adyton_attest::attester::{Attester, AttesterError, SealedAttester};
use adyton_client::clock::Clock;

use zeroize::Zeroizing;

use crate::attestation::{NoKey, NodeKeys};
use crate::config::Config;
use crate::key_release::{KeyRelease as _, KeyReleaseError};
use crate::tls::{TlsError, TlsIdentity};

/// How far the system's clock may be from the time that the hardware tells. Certificates, tokens and evidence live by it.
pub const MAX_CLOCK_ERROR: Duration = Duration::from_secs(60);

/// Where a key service keeps the secret that the answer key is derived from.
pub const ANSWER_KEY_PATH: &str = "adyton-answer-key-v1";

/// A step of the boot failed, and there is no later one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// The host set the clock wrong, or the hypervisor does.
    #[error("the clock is {seconds} s away from the time that the hardware tells; at most {} are allowed", MAX_CLOCK_ERROR.as_secs())]
    Clock {
        /// The distance.
        seconds: u64,
    },
    /// The TEE does not vouch for this configuration. There is no listener without evidence.
    #[error("the attester refused: {0}")]
    Attester(#[from] AttesterError),
    /// No TLS key or certificate.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] TlsError),
    /// No secret from the service that the configuration names.
    #[error("the answer key: {0}")]
    KeyRelease(#[from] KeyReleaseError),
    /// The derived bytes are no key, which has a chance of 2^-128.
    #[error("the key service's secret gives no account to keep grants in")]
    GrantsAccount,
    /// No keys beside that of TLS.
    #[error("the node's keys: {0}")]
    Keys(#[from] NoKey),
}

/// The clock agrees with the hardware's, where the hardware has one.
pub struct Timed {
    attester: Arc<dyn Attester>,
    clock: Clock,
}

impl Timed {
    /// Compares the clocks.
    ///
    /// # Errors
    /// [`BootError::Clock`] when they are more than [`MAX_CLOCK_ERROR`] apart; or the device's.
    pub async fn check(attester: Arc<dyn Attester>, clock: Clock) -> Result<Self, BootError> {
        if let Some(trusted) = attester.trusted_time().await? {
            let error = distance(trusted, clock.now());
            if error > MAX_CLOCK_ERROR {
                return Err(BootError::Clock {
                    seconds: error.as_secs(),
                });
            }
        }
        Ok(Self { attester, clock })
    }

    /// Measures the configuration, to the last byte of its text, and locks the registers.
    ///
    /// # Errors
    /// The device's.
    pub async fn seal(self, config: Config) -> Result<Sealed, BootError> {
        Ok(Sealed {
            attester: SealedAttester::seal(self.attester, &config.text).await?,
            config,
            clock: self.clock,
        })
    }
}

/// The configuration is measured, and nothing can be measured after it.
pub struct Sealed {
    attester: SealedAttester,
    config: Config,
    clock: Clock,
}

impl Sealed {
    /// Makes the node's keys. They have never been outside of this process, and end with it; only the key that signs
    /// answers comes from a key service, if the (measured) configuration names one.
    ///
    /// # Errors
    /// When keys or a certificate cannot be made, or the service that is named releases nothing: a node whose answers an
    /// auditor expects under a lasting key does not start with another.
    pub async fn make_keys(self) -> Result<Keyed, BootError> {
        let mut keys = NodeKeys::generate()?;
        let mut grants_account = None;
        if let Some(service) = &self.config.key_release {
            let secret = service.release(ANSWER_KEY_PATH).await?;
            let seed = secret.answer_key_seed(&self.attester.config_digest())?;
            keys = keys.with_answer_seed(&seed)?;
            if self.config.grants.is_some() {
                let config = self.attester.config_digest();
                grants_account = Some(secret.grants_account_key(&config)?);
            }
        }
        Ok(Keyed {
            identity: TlsIdentity::generate(&self.config.names, self.clock.now())?,
            keys,
            grants_account,
            attester: self.attester,
            config: self.config,
            clock: self.clock,
        })
    }
}

/// Everything that a listener needs. [`crate::node::Node::bind`] takes it.
pub struct Keyed {
    pub(crate) attester: SealedAttester,
    pub(crate) identity: TlsIdentity,
    pub(crate) keys: NodeKeys,
    /// The key of the account that keeps grants, if they are kept.
    pub(crate) grants_account: Option<Zeroizing<[u8; 32]>>,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
}

fn distance(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other)
        .unwrap_or_else(|error| error.duration())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::UNIX_EPOCH;

    use adyton_attest::attester::{Answer, AttestationRequest};
    use adyton_attest::{ConfigDigest, TeeKind};

    /// A device that tells a time and remembers what it was asked to measure.
    struct Device {
        time: Option<u64>,
        sealed: Mutex<Option<ConfigDigest>>,
    }

    impl Attester for Device {
        fn kind(&self) -> TeeKind {
            TeeKind::AwsNitro
        }

        fn seal<'a>(&'a self, config: &'a ConfigDigest) -> Answer<'a, ()> {
            *self.sealed.lock().unwrap() = Some(*config);
            Box::pin(async { Ok(()) })
        }

        fn attest<'a>(&'a self, _: &'a AttestationRequest) -> Answer<'a, Vec<u8>> {
            Box::pin(async { Err(AttesterError::Answer) })
        }

        fn trusted_time(&self) -> Answer<'_, Option<SystemTime>> {
            let time = self
                .time
                .map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
            Box::pin(async move { Ok(time) })
        }
    }

    const NOW: u64 = 1_800_000_000;

    async fn boot(time: Option<u64>) -> (Arc<Device>, Result<Timed, BootError>) {
        let sealed = Mutex::default();
        let device = Arc::new(Device { time, sealed });
        let clock = Clock::of(|| UNIX_EPOCH + Duration::from_secs(NOW));
        let timed = Timed::check(Arc::clone(&device) as Arc<dyn Attester>, clock).await;
        (device, timed)
    }

    #[tokio::test]
    async fn a_clock_that_is_wrong_by_more_than_a_minute_ends_the_boot() {
        for near in [None, Some(NOW), Some(NOW - 60), Some(NOW + 60)] {
            assert!(boot(near).await.1.is_ok(), "{near:?}");
        }
        for far in [0, NOW - 61, NOW + 61] {
            let (device, timed) = boot(Some(far)).await;
            let seconds = NOW.abs_diff(far);
            let refused = timed.err().unwrap();
            assert!(
                matches!(refused, BootError::Clock { seconds: said } if said == seconds),
                "{refused}"
            );
            assert!(device.sealed.lock().unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn what_is_measured_is_the_text_to_its_last_byte() {
        let text = "# a comment, and a line's end that nobody needs: \nlisten = \"vsock:8443\"\n\n";
        let (device, timed) = boot(None).await;
        let config = Config::parse(text).unwrap();
        let sealed = timed.unwrap().seal(config).await.unwrap();
        let measured = device.sealed.lock().unwrap().unwrap();
        assert_eq!(measured, ConfigDigest::of(text));
        assert_ne!(measured, ConfigDigest::of(text.trim_end()));
        assert_eq!(sealed.attester.config_digest(), measured);
    }

    /// Boots as far as the keys, with a key service at this address.
    async fn keyed(service: std::net::SocketAddr) -> Result<Keyed, BootError> {
        let text =
            format!("listen = \"127.0.0.1:0\"\n[key_release]\noyster = \"http://{service}\"");
        let (_, timed) = boot(None).await;
        let config = Config::parse(&text).unwrap();
        timed.unwrap().seal(config).await.unwrap().make_keys().await
    }

    #[tokio::test]
    async fn with_a_key_service_only_the_answer_key_outlives_the_process() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let read = stream.read(&mut [0; 1024]).await.unwrap();
                assert_ne!(read, 0);
                let answer = [
                    b"HTTP/1.1 200 OK\r\ncontent-length: 64\r\n\r\n".as_slice(),
                    &[7; 64],
                ];
                stream.write_all(&answer.concat()).await.unwrap();
            }
        });
        let mut attested = Vec::new();
        for _ in 0..2 {
            let keyed = keyed(address).await.unwrap();
            attested.push(keyed.keys.attested(keyed.identity.spki()));
        }
        service.await.unwrap();
        assert_eq!(attested[0].answer, attested[1].answer);
        assert_ne!(attested[0].hpke, attested[1].hpke);
        assert_ne!(attested[0].tls, attested[1].tls);

        // The service is gone: there is no node with another key.
        let refused = keyed(address).await.err().unwrap();
        assert!(matches!(refused, BootError::KeyRelease(_)), "{refused}");
    }
}
