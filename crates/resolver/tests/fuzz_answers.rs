//! Whatever an endpoint, a directory or a place answers, it is read within limits and without a panic.
#![allow(clippy::unwrap_used)]

use adyton_protocol::did::Did;
use adyton_resolver::registry::{MAX_PLACES, Registered};
use adyton_resolver::registry_file::FileRegistry;
use adyton_resolver::{directory, json_rpc, resolver};

#[test]
fn any_answer_is_read_or_refused() {
    let did: Did = "did:vda:polamoy:0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"
        .parse()
        .unwrap();
    // The beginnings of good answers, so that the fuzzer starts where it gets interesting.
    let beginnings: [&[u8]; 6] = [
        b"",
        br#"{"id":1,"result":"0x"#,
        br#"{"id":1,"error":{"code":3,"data":"#,
        br#"{"success":true,"data":["0x",["https://"#,
        br#"{"status":"success","data":{"id":"did:vda:polamoy:0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a","versionId":"#,
        br#"{"did:vda:polamoy:0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a":["#,
    ];
    bolero::check!().for_each(|bytes: &[u8]| {
        for beginning in beginnings {
            let answer = [beginning, bytes].concat();
            let _: Result<_, _> = json_rpc::read(1, &answer);
            if let Some(Registered::At(places)) = directory::read(&answer) {
                assert!(places.len() <= MAX_PLACES);
            }
            // Nobody guesses a signature.
            assert!(resolver::read(&answer, &did).is_none());
            let _: Result<_, _> = FileRegistry::parse(&answer);
        }
    });
}
