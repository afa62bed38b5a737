//! What is made of a request's body: of a small one where it came, of a large one on a thread that may take its time.
//!
//! Guarantees: nobody else waits while a large body is read, and it goes as soon as it was.

use adyton_couch::document::Envelope;
use adyton_couch::wire::CouchError;

use super::incoming;
use super::reply;
use crate::databases::DatabaseError;
use crate::server::body::{Claim, RequestBody};
use crate::store::blocking;

/// Bytes of a body that is read where it came: about a tenth of a millisecond.
const AT_ONCE_BYTES: usize = 64 << 10;

/// Makes something of a body.
pub(super) async fn parsed<T, E>(
    body: RequestBody,
    parse: impl FnOnce(RequestBody) -> Result<T, E> + Send + 'static,
) -> Result<T, DatabaseError>
where
    T: Send + 'static,
    E: Into<DatabaseError> + Send + 'static,
{
    let made = match body.as_slice().len() < AT_ONCE_BYTES {
        true => parse(body),
        false => blocking(move || Ok(parse(body))).await?,
    };
    made.map_err(Into::into)
}

/// A document, with the room that it takes.
pub(super) async fn document(body: RequestBody) -> Result<(Envelope, Claim), DatabaseError> {
    parsed(body, |body| {
        let mut held = room(&body, 0)?;
        let envelope = Envelope::parse(body.as_slice())?;
        grow(&mut held, incoming::bytes(&envelope.attachments))?;
        Ok::<_, CouchError>((envelope, held))
    })
    .await
}

/// Room for what is made of a body: for its texts, and for so many bytes besides.
pub(super) fn room(body: &RequestBody, besides: u64) -> Result<Claim, CouchError> {
    let texts = body.as_slice().len() as u64;
    let room = body.claim_more(texts.saturating_add(besides));
    room.map_err(reply::couch_refusal)
}

/// The same for what is kept as long as an answer is told, if there is any.
pub(super) fn room_while_told(body: &RequestBody, besides: u64) -> Result<Claim, CouchError> {
    let texts = body.as_slice().len() as u64;
    let room = body.claim_while_told(texts.saturating_add(besides));
    room.map_err(reply::couch_refusal)
}

/// Takes more room.
pub(super) fn grow(held: &mut Claim, bytes: u64) -> Result<(), CouchError> {
    held.grow(bytes).map_err(reply::couch_refusal)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use adyton_couch::wire::ErrorKind;

    use super::*;
    use crate::config::Limits;

    async fn thread_of(bytes: usize) -> thread::ThreadId {
        let body = RequestBody::of(vec![b' '; bytes], &Limits::default());
        let reader = parsed(body, |_| Ok::<_, CouchError>(thread::current().id()));
        reader.await.unwrap()
    }

    #[tokio::test]
    async fn a_large_body_is_read_where_nobody_waits() {
        let here = thread::current().id();
        assert_eq!(thread_of(AT_ONCE_BYTES - 1).await, here);
        assert_ne!(thread_of(AT_ONCE_BYTES).await, here);
    }

    #[tokio::test]
    async fn a_document_takes_room_for_its_text_and_for_each_stub() {
        let stubs = |stubs: usize| {
            let stubs: Vec<_> = (0..stubs)
                .map(|n| format!("\"{n}\":{{\"stub\":true}}"))
                .collect();
            format!("{{\"_attachments\":{{{}}}}}", stubs.join(",")).into_bytes()
        };
        let limits = Limits {
            bodies_in_flight_bytes: 20_000,
            ..Limits::default()
        };
        let read = async |text: Vec<u8>| document(RequestBody::of(text, &limits)).await;
        let (envelope, _held) = read(stubs(50)).await.unwrap();
        assert_eq!(envelope.attachments.len(), 50);
        match read(stubs(100)).await {
            Err(DatabaseError::Refused(full)) => assert_eq!(full.kind, ErrorKind::Unavailable),
            other => panic!("{other:?}"),
        }
    }
}
