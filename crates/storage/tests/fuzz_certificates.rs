//! Any bytes in a certificate's place: a life that ends after it began, or none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use adyton_storage::CertificateLife;

#[test]
fn any_bytes_are_a_certificate_with_a_life_or_are_none() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Some(life) = CertificateLife::of(bytes) {
            assert!(life.begins <= life.ends);
        }
    });
}

/// Most random bytes fall at the first element: these have the frame, and anything in the places of what counts.
#[test]
fn any_moments_in_the_frame_of_a_certificate_are_read_or_refused() {
    bolero::check!()
        .with_type::<(u8, [u8; 15], u8, [u8; 13])>()
        .for_each(|(first, begins, second, ends)| {
            let element = |tag: u8, content: &[u8]| {
                let mut bytes = vec![tag, u8::try_from(content.len()).unwrap()];
                bytes.extend(content);
                bytes
            };
            let validity = [element(*first, begins), element(*second, ends)].concat();
            let before = [2, 1, 1, 0x30, 0, 0x30, 0];
            let signed = [before.to_vec(), element(0x30, &validity)].concat();
            let whole = element(0x30, &element(0x30, &signed));
            if let Some(life) = CertificateLife::of(&whole) {
                assert!(life.begins <= life.ends);
                assert!(matches!((first, second), (0x18, 0x17)));
                assert!(begins.ends_with(b"Z") && ends.ends_with(b"Z"));
            }
        });
}
