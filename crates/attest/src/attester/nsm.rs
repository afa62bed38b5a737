//! The Nitro Secure Module, asked by a thread of its own.
//!
//! Guarantees: one thread owns the device and answers in order; it is started apart from opening, so that it can be born
//! behind a process's own restrictions. Refuses to know what a document says.

mod device;
mod registers;
mod wire;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::SystemTime;

pub use self::device::{DEVICE, NsmDevice};
use self::wire::{Request, Response};
use super::{Answer, AttestationRequest, Attester, AttesterError};
use crate::binding::ConfigDigest;
use crate::evidence::TeeKind;
use crate::nitro::UnverifiedDocument;

/// Requests that may wait for the device; the next one is refused.
const QUEUE: usize = 64;

/// An attester on real Nitro hardware (or on an emulation of its device).
pub struct NsmAttester {
    jobs: SyncSender<Job>,
}

impl NsmAttester {
    /// Starts the thread that owns the device. It inherits the restrictions of the thread that calls this: put them in
    /// force before. It ends with the attester.
    ///
    /// # Errors
    /// [`AttesterError::Device`] when there is no thread.
    pub fn start(device: NsmDevice) -> Result<Self, AttesterError> {
        Self::answered_by(move |request: &[u8]| device.exchange(request))
    }

    fn answered_by(
        mut device: impl FnMut(&[u8]) -> Result<Vec<u8>, AttesterError> + Send + 'static,
    ) -> Result<Self, AttesterError> {
        let (jobs, queue): (_, Receiver<Job>) = sync_channel(QUEUE);
        let work = move || {
            for job in queue {
                job.reply.put(device(&job.request));
            }
        };
        std::thread::Builder::new()
            .name("nsm".to_owned())
            .spawn(work)
            .map_err(AttesterError::Device)?;
        Ok(Self { jobs })
    }

    async fn ask(&self, request: Request<'_>) -> Result<Response, AttesterError> {
        let reply = Arc::new(Reply::default());
        let job = Job {
            request: request.to_cbor()?,
            reply: Arc::clone(&reply),
        };
        // The queue is far longer than the node's own limit on attestations in flight; full means a dead device.
        self.jobs
            .try_send(job)
            .map_err(|_| AttesterError::Stopped)?;
        Response::from_cbor(&std::future::poll_fn(|context| reply.poll(context.waker())).await?)
    }

    async fn document(&self, request: Request<'_>) -> Result<Vec<u8>, AttesterError> {
        match self.ask(request).await? {
            Response::Attestation { document } => Ok(document),
            _ => Err(AttesterError::Answer),
        }
    }
}

impl Attester for NsmAttester {
    fn kind(&self) -> TeeKind {
        TeeKind::AwsNitro
    }

    fn seal<'a>(&'a self, config: &'a ConfigDigest) -> Answer<'a, ()> {
        Box::pin(self.measure(config))
    }

    fn attest<'a>(&'a self, request: &'a AttestationRequest) -> Answer<'a, Vec<u8>> {
        Box::pin(async {
            let user_data = request.binding.user_data().to_bytes();
            self.document(Request::Attestation {
                public_key: Some(request.binding.keys.tls.as_der()),
                user_data: Some(&user_data),
                nonce: request
                    .nonce
                    .as_ref()
                    .map(|nonce| nonce.as_bytes().as_slice()),
            })
            .await
        })
    }

    /// The hypervisor's clock, read from a document about nothing. The parent instance cannot set it.
    fn trusted_time(&self) -> Answer<'_, Option<SystemTime>> {
        Box::pin(async {
            let request = Request::Attestation {
                public_key: None,
                user_data: None,
                nonce: None,
            };
            let document = UnverifiedDocument::parse(&self.document(request).await?);
            let document = document.map_err(|_| AttesterError::Answer)?;
            Ok(Some(document.unverified_claims().issued()))
        })
    }
}

/// One request for the device's thread.
struct Job {
    request: Vec<u8>,
    reply: Arc<Reply>,
}

/// Where the device's thread leaves an answer. If the job is dropped unanswered, the answer is "stopped".
#[derive(Default)]
struct Reply(Mutex<ReplyState>);

#[derive(Default)]
struct ReplyState {
    answer: Option<Result<Vec<u8>, AttesterError>>,
    waker: Option<Waker>,
}

impl Reply {
    fn put(&self, answer: Result<Vec<u8>, AttesterError>) {
        let waker = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.answer.get_or_insert(answer);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, waker: &Waker) -> Poll<Result<Vec<u8>, AttesterError>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.reply.put(Err(AttesterError::Stopped));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ciborium::value::Value;

    use super::registers::tests::emulated;
    use super::*;
    use crate::binding::{AnswerKey, AttestedKeys, Binding, ChannelBinding, HpkeKey, Nonce, Spki};
    use crate::nitro::envelope::whole_cbor;

    /// Runs a future that only waits for the device's thread.
    pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut future = std::pin::pin!(future);
        loop {
            match future
                .as_mut()
                .poll(&mut std::task::Context::from_waker(&waker))
            {
                Poll::Ready(value) => return value,
                Poll::Pending => std::thread::park(),
            }
        }
    }

    #[test]
    fn the_device_is_asked_for_exactly_the_binding() {
        let key = rcgen::KeyPair::generate().unwrap();
        let spki = Spki::from_der(&rcgen::PublicKeyData::subject_public_key_info(&key)).unwrap();
        let binding = Binding {
            keys: AttestedKeys {
                tls: spki.clone(),
                answer: AnswerKey::new([1; 32]),
                hpke: HpkeKey::new([2; 32]),
            },
            channel: ChannelBinding::None,
            config: ConfigDigest::of("a"),
        };
        let request = AttestationRequest {
            binding: binding.clone(),
            nonce: Some(Nonce::new([5; 32])),
        };
        let document = wait(emulated(BTreeMap::new()).attest(&request)).unwrap();
        let echo = whole_cbor(&document).unwrap().into_array().unwrap();
        let expected = [
            spki.as_der().to_vec(),
            binding.user_data().to_bytes().to_vec(),
            vec![5; 32],
        ];
        assert_eq!(echo, expected.map(Value::Bytes));
    }

    #[test]
    fn a_device_that_dies_ends_the_wait() {
        let nsm = NsmAttester::answered_by(|_| panic!("the device's thread dies")).unwrap();
        assert!(matches!(
            wait(nsm.ask(Request::GetRandom)),
            Err(AttesterError::Stopped)
        ));
    }
}
