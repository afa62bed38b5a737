//! Many askers, one slow device: whoever comes while it is busy shares its next document.
//!
//! Guarantees: an asker alone is answered at once and directly; the device is asked one thing at a time and not more often
//! than every [`SPACING`]; an asker that leaves spoils nobody's batch. Refuses to know: HTTP, who asks.

use std::sync::Arc;
use std::time::Duration;

use adyton_attest::attester::SealedAttester;
use adyton_attest::{AttestedKeys, Challenge, Evidence};
use adyton_client::clock::Clock;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

/// How long the device may take.
pub(super) const DEVICE_TIME: Duration = Duration::from_secs(10);

/// From the start of one use of the device to the start of the next, at least. A document costs more than a place in
/// one: with a fast device, too, a crowd shares.
const SPACING: Duration = Duration::from_millis(5);

/// Askers that may wait. The next one is told to come again.
const QUEUE: usize = 4096;

/// Most askers of one document: keeps what is held at once small, and the proofs short (8 levels).
const MOST: usize = 256;

/// The task that has documents made. It ends with its owner.
#[derive(Debug)]
pub(super) struct Batcher {
    askers: mpsc::Sender<Asker>,
    task: JoinHandle<()>,
}

/// Why there is no evidence for an asker. Neither is the asker's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoEvidence {
    /// Too many wait already.
    Full,
    /// The device.
    Device,
}

#[derive(Debug)]
struct Asker {
    challenge: Challenge,
    reply: oneshot::Sender<Evidence>,
}

impl Batcher {
    /// Must be called within a runtime.
    pub(super) fn start(attester: SealedAttester, keys: Arc<AttestedKeys>, clock: Clock) -> Self {
        Self::with_queue(QUEUE, attester, keys, clock)
    }

    fn with_queue(
        places: usize,
        attester: SealedAttester,
        keys: Arc<AttestedKeys>,
        clock: Clock,
    ) -> Self {
        // Full means: refused at once, see `evidence`.
        let (askers, queue) = mpsc::channel(places);
        let task = tokio::spawn(answer(queue, attester, keys, clock));
        Self { askers, task }
    }

    /// Evidence for this challenge, with a document of its own or a shared one.
    pub(super) async fn evidence(&self, challenge: Challenge) -> Result<Evidence, NoEvidence> {
        let (reply, answer) = oneshot::channel();
        self.askers
            .try_send(Asker { challenge, reply })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => NoEvidence::Full,
                mpsc::error::TrySendError::Closed(_) => NoEvidence::Device,
            })?;
        // Dropped unanswered: the device failed or took too long.
        answer.await.map_err(|_| NoEvidence::Device)
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes whoever waits, has one document made for all of them, hands it out, and looks again.
async fn answer(
    mut queue: mpsc::Receiver<Asker>,
    attester: SealedAttester,
    keys: Arc<AttestedKeys>,
    clock: Clock,
) {
    let mut askers = Vec::with_capacity(MOST);
    let mut next = Instant::now();
    loop {
        // One comes; those that come while the device must not be asked yet are taken along.
        match queue.recv().await {
            Some(first) => askers.push(first),
            None => return,
        }
        sleep_until(next).await;
        while askers.len() < MOST
            && let Ok(asker) = queue.try_recv()
        {
            askers.push(asker);
        }
        // Who left needs no answer.
        askers.retain(|asker| !asker.reply.is_closed());
        if askers.is_empty() {
            continue;
        }
        next = Instant::now() + SPACING;
        let challenges: Vec<_> = askers.iter().map(|asker| asker.challenge).collect();
        let made = attester.evidence_for_all(&keys, &challenges, clock.now());
        if let Ok(Ok(evidence)) = timeout(DEVICE_TIME, made).await {
            for (asker, evidence) in askers.drain(..).zip(evidence) {
                // It may have left meanwhile.
                let _ = asker.reply.send(evidence);
            }
        }
        // Whoever is still here learns by the drop that there is nothing.
        askers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adyton_attest::attester::{Answer, AttestationRequest, Attester, AttesterError};
    use adyton_attest::{
        AnswerKey, ChannelBinding, ConfigDigest, Exporter, HpkeKey, Nonce, Spki, TeeKind,
    };
    use std::sync::Mutex;
    use std::time::SystemTime;
    use tokio::sync::Semaphore;

    /// A device that answers when the test lets it, and notes what it was asked.
    struct Held {
        asked: Mutex<Vec<AttestationRequest>>,
        may: Semaphore,
        broken: bool,
    }

    impl Attester for Held {
        fn kind(&self) -> TeeKind {
            TeeKind::SimulatedNitro
        }

        fn seal<'a>(&'a self, _: &'a ConfigDigest) -> Answer<'a, ()> {
            Box::pin(async { Ok(()) })
        }

        fn attest<'a>(&'a self, request: &'a AttestationRequest) -> Answer<'a, Vec<u8>> {
            self.asked.lock().unwrap().push(request.clone());
            Box::pin(async {
                self.may.acquire().await.unwrap().forget();
                match self.broken {
                    true => Err(AttesterError::Stopped),
                    false => Ok(vec![1]),
                }
            })
        }

        fn trusted_time(&self) -> Answer<'_, Option<SystemTime>> {
            Box::pin(async { Ok(None) })
        }
    }

    struct Stage {
        device: Arc<Held>,
        batcher: Arc<Batcher>,
    }

    impl Stage {
        async fn new(places: usize, broken: bool) -> Self {
            let device = Arc::new(Held {
                asked: Mutex::default(),
                may: Semaphore::new(0),
                broken,
            });
            let sealed = SealedAttester::seal(device.clone(), "").await.unwrap();
            let tls = rcgen::KeyPair::generate().unwrap();
            let tls = rcgen::PublicKeyData::subject_public_key_info(&tls);
            let keys = Arc::new(AttestedKeys {
                tls: Spki::from_der(&tls).unwrap(),
                answer: AnswerKey::new([1; 32]),
                hpke: HpkeKey::new([2; 32]),
            });
            let batcher = Batcher::with_queue(places, sealed, keys, Clock::system());
            Self {
                device,
                batcher: Arc::new(batcher),
            }
        }

        fn ask(&self, seed: u8) -> JoinHandle<Result<Evidence, NoEvidence>> {
            let batcher = Arc::clone(&self.batcher);
            tokio::spawn(async move { batcher.evidence(challenge(seed)).await })
        }

        /// Waits until the device was asked so often.
        async fn asked(&self, times: usize) -> Vec<AttestationRequest> {
            loop {
                let asked = self.device.asked.lock().unwrap().clone();
                if asked.len() >= times {
                    return asked;
                }
                tokio::task::yield_now().await;
            }
        }
    }

    fn challenge(seed: u8) -> Challenge {
        Challenge {
            nonce: Nonce::new([seed; 32]),
            exporter: Exporter::new([!seed; 32]),
        }
    }

    #[tokio::test]
    async fn an_asker_alone_is_answered_directly() {
        let stage = Stage::new(8, false).await;
        let answer = stage.ask(1);
        let asked = stage.asked(1).await;
        assert_eq!(asked[0].nonce, Some(challenge(1).nonce));
        let channel = ChannelBinding::TlsExporter(challenge(1).exporter);
        assert_eq!(asked[0].binding.channel, channel);
        stage.device.may.add_permits(1);
        assert_eq!(answer.await.unwrap().unwrap().batch, None);
    }

    #[tokio::test]
    async fn those_who_come_while_the_device_is_busy_share_its_next_document() {
        let stage = Stage::new(8, false).await;
        let first = stage.ask(0);
        stage.asked(1).await;
        let others: Vec<_> = (1..6).map(|seed| stage.ask(seed)).collect();
        while stage.batcher.askers.capacity() > 3 {
            tokio::task::yield_now().await;
        }
        stage.device.may.add_permits(2);
        assert_eq!(first.await.unwrap().unwrap().batch, None);
        for (seed, answer) in (1..).zip(others) {
            let proof = answer.await.unwrap().unwrap().batch.unwrap();
            let asked = stage.asked(2).await;
            assert_eq!(asked.len(), 2);
            assert_eq!(asked[1].binding.channel, ChannelBinding::Batch);
            assert_eq!(asked[1].nonce, Some(proof.root(&challenge(seed))));
        }
    }

    #[tokio::test]
    async fn one_asker_more_than_may_wait_is_refused_at_once() {
        let stage = Stage::new(2, false).await;
        let first = stage.ask(0);
        stage.asked(1).await;
        let waiting = [stage.ask(1), stage.ask(2)];
        while stage.batcher.askers.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(stage.ask(3).await.unwrap(), Err(NoEvidence::Full));
        stage.device.may.add_permits(10);
        assert!(first.await.unwrap().is_ok());
        for answer in waiting {
            assert!(answer.await.unwrap().is_ok());
        }
        assert!(stage.ask(4).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn an_asker_that_leaves_spoils_nobodys_batch() {
        let stage = Stage::new(8, false).await;
        let first = stage.ask(0);
        stage.asked(1).await;
        let (leaves, stays) = (stage.ask(1), stage.ask(2));
        while stage.batcher.askers.capacity() > 6 {
            tokio::task::yield_now().await;
        }
        // The one whose call began the batch leaves, too.
        first.abort();
        leaves.abort();
        assert!(leaves.await.is_err());
        stage.device.may.add_permits(2);
        assert_eq!(stays.await.unwrap().unwrap().batch, None);
    }

    #[tokio::test]
    async fn a_device_that_fails_is_said_so_to_all_and_asked_again_later() {
        let stage = Stage::new(8, true).await;
        stage.device.may.add_permits(10);
        for seed in 0..3 {
            assert_eq!(stage.ask(seed).await.unwrap(), Err(NoEvidence::Device));
        }
        assert_eq!(stage.asked(3).await.len(), 3);
    }
}
