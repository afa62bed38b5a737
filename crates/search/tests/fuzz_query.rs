//! Foreign text as queries and as records: read within limits, answered, marked; never a panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use adyton_search::{Gathered, Highlighter, Index, Options, Plan, Query, Sight, Statistics};

#[test]
fn any_text_is_a_query_and_any_text_is_searched() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let (asked, said) = bytes.split_at(bytes.len() / 3);
        let (asked, said) = (
            String::from_utf8_lossy(asked),
            String::from_utf8_lossy(said),
        );
        let mut index = Index::new(Plan::open());
        index.put(3, |draft| {
            let field = draft.field("text").unwrap();
            draft.text(field, &said);
        });
        index.put(1, |draft| {
            let field = draft.field("title").unwrap();
            draft.text(field, "the night train and ");
            draft.text(field, &asked);
        });
        index.settle();
        let Ok(query) = Query::parse(&asked) else {
            return;
        };
        assert!(query.words() <= Query::MAX_WORDS);
        let gathered = Gathered::new(&index, &query, &Options::default(), &Sight::ALL).unwrap();
        let mut statistics = Statistics::default();
        statistics.add(&gathered);
        let hits = gathered.rank(
            &statistics,
            9,
            None,
            &Sight::ALL,
            &|one, other| one.cmp(&other),
            &|_| false,
        );
        assert_eq!(hits.len(), gathered.matches().len());
        for hit in hits {
            assert!(hit.score.is_finite());
            let found = gathered.explain(&query, hit.doc);
            for piece in Highlighter::new(&found).pieces(&said, true, 3) {
                let bare = piece.replace("<mark>", "").replace("</mark>", "");
                assert!(!bare.contains(['<', '>', '"']));
            }
        }
        assert!(index.remove(3) && index.remove(1));
        index.settle();
        assert_eq!(index.distinct_words(), 0);
    });
}
