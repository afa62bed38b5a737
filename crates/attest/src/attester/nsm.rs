//! The Nitro Secure Module: `/dev/nsm`, one ioctl, CBOR both ways.
//!
//! Guarantees: one thread owns the device and answers in order; requests and answers keep to the device's sizes.
//! Refuses to know what a document says. The only `unsafe` of this crate is the ioctl at the end of the file.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::SystemTime;

use ciborium::value::Value;

use super::{Answer, AttestationRequest, Attester, AttesterError};
use crate::binding::ConfigDigest;
use crate::evidence::TeeKind;
use crate::nitro::envelope::whole_cbor;
use crate::nitro::pcr::{CONFIG_PCR, MAX_INDEX};
use crate::nitro::{Pcr, UnverifiedDocument};

/// Where the device is.
pub const DEVICE: &str = "/dev/nsm";

/// Longest request the device takes.
const MAX_REQUEST_BYTES: usize = 0x1000;

/// Longest answer the device gives.
const MAX_RESPONSE_BYTES: usize = 0x3000;

/// Requests that may wait for the device; the next one waits in line for a place.
const QUEUE: usize = 64;

/// An attester on real Nitro hardware (or on an emulation of its device).
pub struct NsmAttester {
    jobs: SyncSender<Job>,
}

impl NsmAttester {
    /// Opens the device and starts the thread that owns it. The thread ends with the attester.
    ///
    /// # Errors
    /// [`AttesterError::NoDevice`] where this is no Nitro enclave.
    pub fn open() -> Result<Self, AttesterError> {
        Self::open_at(DEVICE)
    }

    fn open_at(device: &'static str) -> Result<Self, AttesterError> {
        let file = OpenOptions::new().read(true).write(true).open(device);
        let file = file.map_err(|source| AttesterError::NoDevice { device, source })?;
        Self::start(move |request: &[u8]| exchange(&file, request))
    }

    fn start(
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

    /// 256 bytes of the hardware's randomness, for the boot to feed to the kernel.
    ///
    /// # Errors
    /// [`AttesterError`] when the device does not give any.
    pub async fn random(&self) -> Result<Vec<u8>, AttesterError> {
        match self.ask(Request::GetRandom).await? {
            Response::Random { random } if !random.is_empty() => Ok(random),
            _ => Err(AttesterError::Answer),
        }
    }

    /// Measures once, checks the register, locks all.
    async fn measure(&self, config: &ConfigDigest) -> Result<(), AttesterError> {
        let expected = Pcr::of_config(config);
        match self.ask(Request::DescribePcr { index: CONFIG_PCR }).await? {
            Response::DescribePcr { lock: false, value } if value.is_zero() => {
                self.ask(Request::ExtendPcr {
                    index: CONFIG_PCR,
                    data: config.as_bytes(),
                })
                .await?;
            }
            // A restart of the process inside the same enclave, with the same configuration.
            Response::DescribePcr { lock: true, value } if value == expected => {}
            Response::DescribePcr { .. } => return Err(AttesterError::AlreadySealed),
            _ => return Err(AttesterError::Answer),
        }
        self.ask(Request::LockPcrs {
            range: MAX_INDEX + 1,
        })
        .await?;
        match self.ask(Request::DescribePcr { index: CONFIG_PCR }).await? {
            Response::DescribePcr { lock: true, value } if value == expected => Ok(()),
            _ => Err(AttesterError::AlreadySealed),
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
                public_key: Some(request.binding.spki.as_der()),
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

/// What the device can be asked.
#[derive(Debug, PartialEq)]
enum Request<'a> {
    DescribePcr {
        index: u8,
    },
    ExtendPcr {
        index: u8,
        data: &'a [u8],
    },
    /// Locks the registers `0..range`.
    LockPcrs {
        range: u8,
    },
    Attestation {
        public_key: Option<&'a [u8]>,
        user_data: Option<&'a [u8]>,
        nonce: Option<&'a [u8]>,
    },
    GetRandom,
}

impl Request<'_> {
    fn to_cbor(&self) -> Result<Vec<u8>, AttesterError> {
        let named = |name: &str, fields: Vec<(&str, Value)>| {
            let fields = fields
                .into_iter()
                .map(|(key, value)| (Value::from(key), value))
                .collect();
            Value::Map(vec![(Value::from(name), Value::Map(fields))])
        };
        let optional =
            |bytes: Option<&[u8]>| bytes.map_or(Value::Null, |bytes| Value::Bytes(bytes.to_vec()));
        let value = match self {
            Self::DescribePcr { index } => {
                named("DescribePCR", vec![("index", Value::from(*index))])
            }
            Self::ExtendPcr { index, data } => {
                let fields = vec![
                    ("index", Value::from(*index)),
                    ("data", Value::Bytes(data.to_vec())),
                ];
                named("ExtendPCR", fields)
            }
            Self::LockPcrs { range } => named("LockPCRs", vec![("range", Value::from(*range))]),
            Self::Attestation {
                public_key,
                user_data,
                nonce,
            } => {
                let fields = vec![
                    ("user_data", optional(*user_data)),
                    ("nonce", optional(*nonce)),
                    ("public_key", optional(*public_key)),
                ];
                named("Attestation", fields)
            }
            Self::GetRandom => Value::from("GetRandom"),
        };
        let mut bytes = Vec::new();
        ciborium::into_writer(&value, &mut bytes).map_err(|_| AttesterError::Answer)?;
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err(AttesterError::Refused {
                code: "InputTooLarge".to_owned(),
            });
        }
        Ok(bytes)
    }
}

/// What the device answers.
#[derive(Debug, PartialEq)]
enum Response {
    DescribePcr {
        lock: bool,
        value: Pcr,
    },
    Attestation {
        document: Vec<u8>,
    },
    Random {
        random: Vec<u8>,
    },
    /// An operation that was done and has nothing more to say.
    Done,
}

impl Response {
    fn from_cbor(bytes: &[u8]) -> Result<Self, AttesterError> {
        let (name, value) = match whole_cbor(bytes).ok_or(AttesterError::Answer)? {
            Value::Text(name) => (name, Value::Null),
            Value::Map(entries) => match <[_; 1]>::try_from(entries) {
                Ok([(Value::Text(name), value)]) => (name, value),
                Ok(_) | Err(_) => return Err(AttesterError::Answer),
            },
            _ => return Err(AttesterError::Answer),
        };
        if name == "Error" {
            let code = value.into_text().map_err(|_| AttesterError::Answer)?;
            let known = code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
            return Err(if known {
                AttesterError::Refused { code }
            } else {
                AttesterError::Answer
            });
        }
        let mut fields = Fields(value.into_map().unwrap_or_default());
        match name.as_str() {
            "DescribePCR" => {
                let lock = fields
                    .take("lock")?
                    .into_bool()
                    .map_err(|_| AttesterError::Answer)?;
                let value = fields
                    .take("data")?
                    .into_bytes()
                    .map_err(|_| AttesterError::Answer)?;
                let value = value.try_into().map_err(|_| AttesterError::Answer)?;
                Ok(Self::DescribePcr {
                    lock,
                    value: Pcr::new(value),
                })
            }
            "Attestation" => {
                let document = fields
                    .take("document")?
                    .into_bytes()
                    .map_err(|_| AttesterError::Answer)?;
                Ok(Self::Attestation { document })
            }
            "GetRandom" => {
                let random = fields
                    .take("random")?
                    .into_bytes()
                    .map_err(|_| AttesterError::Answer)?;
                Ok(Self::Random { random })
            }
            "ExtendPCR" | "LockPCRs" => Ok(Self::Done),
            _ => Err(AttesterError::Answer),
        }
    }
}

struct Fields(Vec<(Value, Value)>);

impl Fields {
    fn take(&mut self, name: &str) -> Result<Value, AttesterError> {
        let at = self
            .0
            .iter()
            .position(|(key, _)| key.as_text() == Some(name))
            .ok_or(AttesterError::Answer)?;
        Ok(self.0.swap_remove(at).1)
    }
}

/// `_IOWR(0x0A, 0, struct { iovec request; iovec response; })`.
const NSM_IOCTL: u64 = (3 << 30) | ((size_of::<Message>() as u64) << 16) | (0x0A << 8);

#[repr(C)]
struct Message {
    request: libc::iovec,
    response: libc::iovec,
}

#[expect(
    unsafe_code,
    reason = "the device is asked by ioctl, which takes raw pointers"
)]
fn exchange(device: &File, request: &[u8]) -> Result<Vec<u8>, AttesterError> {
    let mut response = vec![0_u8; MAX_RESPONSE_BYTES];
    let mut message = Message {
        // The device only reads the request; an iovec has no const variant.
        request: libc::iovec {
            iov_base: request.as_ptr().cast_mut().cast(),
            iov_len: request.len(),
        },
        response: libc::iovec {
            iov_base: response.as_mut_ptr().cast(),
            iov_len: response.len(),
        },
    };
    // SAFETY: the descriptor is open for as long as `device` is borrowed; both buffers outlive the call and their
    // lengths are those of their allocations; the driver writes at most `response.iov_len` bytes and sets it to
    // what it wrote.
    let done = unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            NSM_IOCTL as libc::Ioctl,
            &raw mut message,
        )
    };
    if done < 0 {
        return Err(AttesterError::Device(std::io::Error::last_os_error()));
    }
    if message.response.iov_len > response.len() {
        return Err(AttesterError::Answer);
    }
    response.truncate(message.response.iov_len);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::{Binding, ChannelBinding, Nonce, Spki};
    use std::collections::BTreeMap;

    fn cbor(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    fn map(entries: Vec<(&str, Value)>) -> Value {
        Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (Value::from(key), value))
                .collect(),
        )
    }

    /// Runs a future that only waits for the device's thread.
    fn wait<T>(future: impl Future<Output = T>) -> T {
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

    /// The device's register rules, in its own wire format.
    struct Registers(BTreeMap<u64, (bool, Pcr)>);

    impl Registers {
        fn answer(&mut self, request: &[u8]) -> Vec<u8> {
            let request = whole_cbor(request).unwrap();
            let Value::Map(entries) = request else {
                return cbor(&map(vec![(
                    "GetRandom",
                    map(vec![("random", Value::Bytes(vec![7; 256]))]),
                )]));
            };
            let (name, fields) = entries.into_iter().next().unwrap();
            let fields = fields.into_map().unwrap();
            let field = |name: &str| {
                fields
                    .iter()
                    .find(|(key, _)| key.as_text() == Some(name))
                    .unwrap()
                    .1
                    .clone()
            };
            let number = |name| u64::try_from(field(name).into_integer().unwrap()).unwrap();
            let answer = match name.as_text().unwrap() {
                "DescribePCR" => {
                    let (lock, pcr) = self
                        .0
                        .get(&number("index"))
                        .copied()
                        .unwrap_or((false, Pcr::ZERO));
                    let data = Value::Bytes(pcr.as_bytes().to_vec());
                    map(vec![(
                        "DescribePCR",
                        map(vec![("lock", Value::Bool(lock)), ("data", data)]),
                    )])
                }
                "ExtendPCR" => {
                    let (lock, pcr) = self.0.entry(number("index")).or_insert((false, Pcr::ZERO));
                    if *lock {
                        map(vec![("Error", Value::from("ReadOnlyIndex"))])
                    } else {
                        *pcr = pcr.extended(&field("data").into_bytes().unwrap());
                        map(vec![(
                            "ExtendPCR",
                            map(vec![("data", Value::Bytes(pcr.as_bytes().to_vec()))]),
                        )])
                    }
                }
                "LockPCRs" => {
                    for index in 0..number("range") {
                        self.0.entry(index).or_insert((false, Pcr::ZERO)).0 = true;
                    }
                    Value::from("LockPCRs")
                }
                "Attestation" => {
                    // Echoes the request's fields, so that a test can look at them.
                    let echo = [field("public_key"), field("user_data"), field("nonce")];
                    let document = Value::Bytes(cbor(&Value::Array(echo.to_vec())));
                    map(vec![("Attestation", map(vec![("document", document)]))])
                }
                other => panic!("{other}"),
            };
            cbor(&answer)
        }
    }

    fn emulated(registers: BTreeMap<u64, (bool, Pcr)>) -> NsmAttester {
        let mut registers = Registers(registers);
        NsmAttester::start(move |request| Ok(registers.answer(request))).unwrap()
    }

    #[test]
    fn without_the_device_the_error_says_so() {
        let error = NsmAttester::open_at("/nonexistent/nsm").err().unwrap();
        assert_eq!(
            error.to_string(),
            "there is no /nonexistent/nsm: this machine is not an enclave of that kind"
        );
    }

    #[test]
    fn a_file_that_is_not_the_device_is_an_error() {
        let null = NsmAttester::open_at("/dev/null").unwrap();
        assert!(matches!(wait(null.random()), Err(AttesterError::Device(_))));
    }

    #[test]
    fn the_ioctl_number_is_that_of_the_driver() {
        assert_eq!(NSM_IOCTL, 0xC020_0A00);
    }

    #[test]
    fn requests_are_the_bytes_that_the_device_expects() {
        let bytes = |request: Request<'_>| hex::encode(request.to_cbor().unwrap());
        assert_eq!(
            bytes(Request::GetRandom),
            "69".to_owned() + &hex::encode("GetRandom")
        );
        assert_eq!(
            bytes(Request::DescribePcr { index: 17 }),
            format!(
                "a16b{}a165{}11",
                hex::encode("DescribePCR"),
                hex::encode("index")
            )
        );
        assert_eq!(
            bytes(Request::ExtendPcr {
                index: 17,
                data: &[1, 2]
            }),
            format!(
                "a169{}a265{}1164{}420102",
                hex::encode("ExtendPCR"),
                hex::encode("index"),
                hex::encode("data")
            )
        );
        assert_eq!(
            bytes(Request::LockPcrs { range: 32 }),
            format!(
                "a168{}a165{}1820",
                hex::encode("LockPCRs"),
                hex::encode("range")
            )
        );
        assert_eq!(
            bytes(Request::Attestation {
                public_key: Some(&[1]),
                user_data: None,
                nonce: Some(&[])
            }),
            format!(
                "a16b{}a369{}f665{}406a{}4101",
                hex::encode("Attestation"),
                hex::encode("user_data"),
                hex::encode("nonce"),
                hex::encode("public_key")
            )
        );
    }

    #[test]
    fn a_request_over_the_devices_limit_is_not_sent() {
        let data = vec![0; MAX_REQUEST_BYTES];
        let request = Request::Attestation {
            public_key: None,
            user_data: Some(&data),
            nonce: None,
        };
        assert!(matches!(
            request.to_cbor(),
            Err(AttesterError::Refused { .. })
        ));
    }

    #[test]
    fn answers_that_nobody_promised_are_refused() {
        let wrong = [
            Value::Null,
            Value::from("Attestation"),
            Value::from("DescribePCR"),
            map(vec![]),
            map(vec![("Attestation", Value::Null)]),
            map(vec![(
                "Attestation",
                map(vec![("document", Value::from("text"))]),
            )]),
            map(vec![
                ("Attestation", Value::Null),
                ("LockPCRs", Value::Null),
            ]),
            map(vec![("Error", Value::from("\u{1b}[2J"))]),
            map(vec![(
                "DescribePCR",
                map(vec![
                    ("lock", Value::Bool(true)),
                    ("data", Value::Bytes(vec![0; 32])),
                ]),
            )]),
        ];
        for value in wrong {
            assert!(
                matches!(
                    Response::from_cbor(&cbor(&value)),
                    Err(AttesterError::Answer)
                ),
                "{value:?}"
            );
        }
        let refused =
            Response::from_cbor(&cbor(&map(vec![("Error", Value::from("ReadOnlyIndex"))])))
                .unwrap_err();
        assert_eq!(refused.to_string(), "the device refused: ReadOnlyIndex");
    }

    #[test]
    fn sealing_measures_the_configuration_once_and_locks_it() {
        let nsm = emulated(BTreeMap::new());
        let config = ConfigDigest::of("a");
        wait(nsm.seal(&config)).unwrap();
        let described = wait(nsm.ask(Request::DescribePcr { index: CONFIG_PCR })).unwrap();
        assert_eq!(
            described,
            Response::DescribePcr {
                lock: true,
                value: Pcr::of_config(&config)
            }
        );
        // The same configuration again is the same state; another one is refused.
        wait(nsm.seal(&config)).unwrap();
        assert!(matches!(
            wait(nsm.seal(&ConfigDigest::of("b"))),
            Err(AttesterError::AlreadySealed)
        ));
    }

    #[test]
    fn a_register_that_somebody_used_before_is_refused() {
        let config = ConfigDigest::of("a");
        for taken in [
            (true, Pcr::ZERO),
            (false, Pcr::of(b"x")),
            (true, Pcr::of(b"x")),
            (false, Pcr::of_config(&config)),
        ] {
            let nsm = emulated(BTreeMap::from([(u64::from(CONFIG_PCR), taken)]));
            assert!(
                matches!(wait(nsm.seal(&config)), Err(AttesterError::AlreadySealed)),
                "{taken:?}"
            );
        }
    }

    #[test]
    fn the_device_is_asked_for_exactly_the_binding() {
        let key = rcgen::KeyPair::generate().unwrap();
        let spki = Spki::from_der(&rcgen::PublicKeyData::subject_public_key_info(&key)).unwrap();
        let binding = Binding {
            spki: spki.clone(),
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
        let nsm = NsmAttester::start(|_| panic!("the device's thread dies")).unwrap();
        assert!(matches!(wait(nsm.random()), Err(AttesterError::Stopped)));
    }
}
