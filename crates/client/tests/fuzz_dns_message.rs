//! Whatever a resolver answers, it is read within limits and without a panic.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use adyton_client::egress::dns_message::{Family, MAX_ADDRESSES, Question};

#[test]
fn any_answer_is_read_or_refused() {
    let question = Question::new("a.b", Family::V4).unwrap();
    // Header and question of a good answer, so that the fuzzer starts where it gets interesting.
    let good = b"\0\0\x81\x80\0\x01\0\x02\0\0\0\0\x01a\x01b\0\0\x01\0\x01";
    bolero::check!().for_each(|bytes: &[u8]| {
        for message in [bytes.to_vec(), [good, bytes].concat()] {
            if let Ok(resolved) = question.read(&message) {
                assert!(resolved.addresses.len() <= MAX_ADDRESSES);
                assert!(resolved.addresses.iter().all(|ip| ip.is_ipv4()));
            }
        }
    });
}
