//! Cursors of watches: whatever a caller sends is a position that was given out, or nothing.
#![allow(clippy::unwrap_used, clippy::panic)]

use adyton_node::vault::Cursors;

#[test]
fn no_text_is_a_cursor_that_was_not_given_out() {
    let cursors = Cursors::generate();
    let genuine = cursors.seal(7).unwrap();
    bolero::check!().for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(cursors.open(&text), None);
        // A genuine one with something of it exchanged.
        let mut changed = genuine.clone().into_bytes();
        for (at, byte) in bytes.iter().enumerate().take(changed.len()) {
            changed[at] ^= byte & 0x1f;
        }
        let changed = String::from_utf8_lossy(&changed);
        let same = changed == genuine;
        assert_eq!(cursors.open(&changed), same.then_some(7));
    });
}
