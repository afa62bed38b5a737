//! The floor: what no implementation of this format can do without. One thread, no servers' work counted:
//! the same rows from memory, cut, base64, secretbox, one JSON pass.

use std::time::{Duration, Instant};

use adyton_couch::changes_feed::RowCutter;
use adyton_keys::record_cipher::{RecordCipher, SealedRecord};
use serde_json::Value;

/// Time for turning a feed in memory into checked plaintext.
pub(crate) fn measure(feed: &[u8], cipher: &RecordCipher) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        let mut cutter = RowCutter::new();
        let (mut scratch, mut plain) = (Vec::new(), vec![0; 1 << 20]);
        for part in feed.chunks(256 * 1024) {
            cutter.push(part);
            for row in cutter.take().iter() {
                open(row, cipher, &mut scratch, &mut plain);
            }
        }
        best = best.min(begun.elapsed());
    }
    best
}

fn open(row: &[u8], cipher: &RecordCipher, scratch: &mut Vec<u8>, plain: &mut [u8]) {
    const NAME: &[u8] = b"\"payload\":\"";
    let Some(at) = row.windows(NAME.len()).position(|window| window == NAME) else {
        return;
    };
    let payload = row.get(at + NAME.len()..).unwrap_or_default();
    let payload = payload
        .split(|byte| *byte == b'"')
        .next()
        .unwrap_or_default();
    let Ok(sealed) = SealedRecord::decode(payload, scratch) else {
        return;
    };
    let Some(out) = plain.get_mut(..sealed.plaintext_len()) else {
        return;
    };
    if cipher.open_into(sealed, out).is_ok() {
        let checked: Result<&serde_json::value::RawValue, _> = serde_json::from_slice(out);
        std::hint::black_box(checked.is_ok_and(|raw| raw.get() != Value::Null));
    }
}
