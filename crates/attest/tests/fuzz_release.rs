//! Fuzz target: a hostile release file is an error, never a panic; none that is read allows debug mode, and none is a
//! release without its signatures.

#![allow(clippy::unwrap_used)]

use adyton_attest::nitro::Pcr;
use adyton_attest::release::{Memory, ReleaseKey, ReleaseKeys, UnverifiedRelease};

fn check(bytes: &[u8], keys: &ReleaseKeys) {
    let _ = Memory::from_json(bytes);
    let Ok(release) = UnverifiedRelease::parse(bytes) else {
        return;
    };
    for measurement in release.unverified_manifest().nitro() {
        let pcrs = measurement.pcrs();
        assert!((0..3).all(|index| pcrs.get(&index).is_some_and(|pcr| *pcr != Pcr::ZERO)));
    }
    let again = UnverifiedRelease::parse(release.to_text().as_bytes()).unwrap();
    assert_eq!(again, release);
    assert!(release.verify(keys).is_err());
}

#[test]
fn hostile_releases_are_refused_in_order() {
    // Nobody has the secret half of this key.
    let keys = ReleaseKeys::read(1, &[ReleaseKey::new([7; 32]).to_string()]).unwrap();
    let pcr = "ab".repeat(48);
    let manifest = format!(
        "version = 1\nseq = 1\nname = \"n\"\nrelease = \"1\"\ncommit = \"{}\"\n[[nitro]]\nname = \"n\"\n\
         pcrs = {{ 0 = \"{pcr}\", 1 = \"{pcr}\", 2 = \"{pcr}\" }}\n",
        "c0ffee".repeat(7).get(..40).unwrap()
    );
    let signature = format!("{} {}==\n", ReleaseKey::new([7; 32]), "A".repeat(86));
    let signed = format!("{manifest}-----signatures-----\n{signature}");
    check(manifest.as_bytes(), &keys);
    check(signed.as_bytes(), &keys);
    check(
        format!("version = {}", "[".repeat(100_000)).as_bytes(),
        &keys,
    );
    bolero::check!().for_each(|input: &[u8]| {
        check(input, &keys);
        // The input as a list of changes to a signed manifest: place (2 bytes), new byte, ...
        let mut bytes = signed.clone().into_bytes();
        for change in input.chunks_exact(3) {
            if let [high, low, byte] = *change {
                let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len();
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = byte;
                }
            }
        }
        check(&bytes, &keys);
    });
}
