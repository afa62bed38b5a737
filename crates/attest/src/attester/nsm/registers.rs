//! The registers: what the boot puts into them before anything listens.
//!
//! Guarantees: the configuration is measured once, the register holds exactly it, and all registers are locked.

use std::ops::RangeInclusive;

use super::NsmAttester;
use super::wire::{Request, Response};
use crate::attester::AttesterError;
use crate::binding::ConfigDigest;
use crate::nitro::Pcr;
use crate::nitro::pcr::{CONFIG_PCR, MAX_INDEX};

impl NsmAttester {
    /// Measures once, checks the register, locks all.
    pub(super) async fn measure(&self, config: &ConfigDigest) -> Result<(), AttesterError> {
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
        // The image registers are locked by the hypervisor; others may have been locked before us, as Marlin Oyster's boot
        // locks 16. What counts is that nobody can extend any of ours from now on.
        for index in FREE_PCRS {
            match self.ask(Request::DescribePcr { index }).await? {
                Response::DescribePcr { lock: true, value }
                    if index != CONFIG_PCR || value == expected => {}
                _ => return Err(AttesterError::AlreadySealed),
            }
        }
        Ok(())
    }
}

/// The registers that software may extend, until they are locked.
const FREE_PCRS: RangeInclusive<u8> = 16..=MAX_INDEX;

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use ciborium::value::Value;

    use super::super::tests::wait;
    use super::super::wire::tests::{cbor, map};
    use super::*;
    use crate::attester::Attester as _;
    use crate::nitro::envelope::whole_cbor;

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

    pub(in crate::attester::nsm) fn emulated(registers: BTreeMap<u64, (bool, Pcr)>) -> NsmAttester {
        let mut registers = Registers(registers);
        NsmAttester::answered_by(move |request| Ok(registers.answer(request))).unwrap()
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
    fn a_register_that_marlins_boot_measured_and_locked_before_stays_as_it_is() {
        let image = Pcr::ZERO.extended(b"digest of the compose file");
        let nsm = emulated(BTreeMap::from([(16, (true, image))]));
        let config = ConfigDigest::of("a");
        wait(nsm.seal(&config)).unwrap();
        for (index, value) in [
            (16, image),
            (CONFIG_PCR, Pcr::of_config(&config)),
            (18, Pcr::ZERO),
            (MAX_INDEX, Pcr::ZERO),
        ] {
            let described = wait(nsm.ask(Request::DescribePcr { index })).unwrap();
            assert_eq!(described, Response::DescribePcr { lock: true, value });
        }
    }

    #[test]
    fn a_register_that_stays_open_ends_the_boot() {
        for open in FREE_PCRS {
            let mut registers = Registers(BTreeMap::new());
            let nsm = NsmAttester::answered_by(move |request| {
                let answer = registers.answer(request);
                if let Some((lock, _)) = registers.0.get_mut(&u64::from(open)) {
                    *lock = false;
                }
                Ok(answer)
            });
            let sealed = wait(nsm.unwrap().seal(&ConfigDigest::of("a")));
            assert!(
                matches!(sealed, Err(AttesterError::AlreadySealed)),
                "{open}"
            );
        }
    }
}
