//! Files of anybody, read by whoever verifies: an error at worst, and what is understood is written back the same.
#![allow(clippy::unwrap_used)]

use adyton_enclave::cpio;
use adyton_enclave::eif::Eif;
use adyton_enclave::measure::Measurements;

#[test]
fn any_bytes_are_an_image_or_an_error() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(eif) = Eif::parse(bytes) {
            let _ = Measurements::of(&eif);
            // Sections may come in another order and with other hints, so not the same bytes; but the same image.
            assert_eq!(Eif::parse(&eif.to_bytes()).unwrap(), eif);
        }
    });
}

/// Random bytes never get past the checksum; a real file with one place changed gets further.
#[test]
fn a_real_image_with_other_bytes_in_one_place_is_refused() {
    const REAL: &[u8] = include_bytes!("vectors/aws-builder-0.8.1.eif");
    bolero::check!()
        .with_type::<(usize, Vec<u8>)>()
        .for_each(|(at, other)| {
            let mut file = REAL.to_vec();
            let at = at % file.len();
            for (into, from) in file.iter_mut().skip(at).zip(other) {
                *into = *from;
            }
            assert_eq!(Eif::parse(&file).is_ok(), file == REAL);
        });
}

#[test]
fn any_bytes_are_an_archive_or_an_error() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(items) = cpio::read(bytes) {
            assert!(items.iter().all(|item| item.bytes <= bytes.len()));
        }
    });
}
