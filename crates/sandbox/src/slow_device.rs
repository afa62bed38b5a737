//! A device that takes its time, as hardware does: one request at a time, each for a fixed while.
//!
//! Guarantees: the answers are those of the TEE behind it. For measuring what many askers get from slow hardware.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adyton_attest::attester::{Answer, AttestationRequest, Attester};
use adyton_attest::{ConfigDigest, TeeKind};
use tokio::sync::Mutex;

/// A TEE behind a slow device.
pub struct SlowDevice {
    tee: Arc<dyn Attester>,
    time: Duration,
    /// How many documents were made; the lock is the device, which does one thing at a time.
    made: Mutex<u64>,
}

impl SlowDevice {
    /// Each document takes this long, on top of what the TEE itself takes.
    #[must_use]
    pub fn new(tee: Arc<dyn Attester>, time: Duration) -> Self {
        Self {
            tee,
            time,
            made: Mutex::new(0),
        }
    }

    /// How many documents were made.
    pub async fn made(&self) -> u64 {
        *self.made.lock().await
    }
}

impl Attester for SlowDevice {
    fn kind(&self) -> TeeKind {
        self.tee.kind()
    }

    fn seal<'a>(&'a self, config: &'a ConfigDigest) -> Answer<'a, ()> {
        self.tee.seal(config)
    }

    fn attest<'a>(&'a self, request: &'a AttestationRequest) -> Answer<'a, Vec<u8>> {
        Box::pin(async {
            let mut made = self.made.lock().await;
            tokio::time::sleep(self.time).await;
            *made += 1;
            self.tee.attest(request).await
        })
    }

    fn trusted_time(&self) -> Answer<'_, Option<SystemTime>> {
        self.tee.trusted_time()
    }
}
