//! Any bytes as a query, an index definition, a design document, a bookmark: read or refused, never a panic, and within limits.
#![allow(clippy::unwrap_used)]

use adyton_couch::mango::{
    Bookmark, FindQuery, Index, MAX_INDEX_FIELDS, NewIndex, Plan, Remainder, with_view,
    without_view,
};

fn check(bytes: &[u8]) {
    if let Ok(query) = FindQuery::parse(bytes) {
        assert!(query.sort.len() <= MAX_INDEX_FIELDS);
        let indexes = [Index::all_docs()];
        if let Ok(plan) = Plan::of(&query, &indexes) {
            let taken = plan.place_of(&query, "x", bytes);
            if let (Some(place), Some(projection)) = (taken, &query.fields) {
                assert!(projection.apply(bytes).starts_with(b"{"));
                let text = Bookmark::after(plan.index, place.clone()).to_string();
                let read: Bookmark = text.parse().unwrap();
                assert_eq!(read.place_in(plan.index).unwrap(), &place);
            }
        }
        let _range = Plan::id_range(&query);
    }
    if let Ok(new) = NewIndex::parse(bytes) {
        // What is accepted is kept, and read back the same.
        let text = with_view(None, &new.index).unwrap().unwrap();
        assert_eq!(
            Index::in_design(&new.design, &text),
            std::slice::from_ref(&new.index)
        );
        assert!(matches!(
            without_view(&text, &new.index.name),
            Remainder::Nothing
        ));
        let _other = with_view(Some(bytes), &new.index);
    }
    for index in Index::in_design("_design/x", bytes) {
        assert!(!index.columns.is_empty() && index.columns.len() <= MAX_INDEX_FIELDS);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(bookmark) = text.parse::<Bookmark>()
    {
        assert_eq!(bookmark.to_string(), text.to_ascii_lowercase());
    }
}

#[test]
fn any_bytes_as_a_query_or_an_index() {
    bolero::check!().for_each(check);
}

#[test]
fn seeds() {
    for seed in [
        r#"{"selector":{"a":{"$gt":1},"_id":{"$lt":"z"}},"sort":[{"_id":"desc"}],"fields":["a.b","a"],"limit":3}"#,
        r#"{"selector":{},"fields":["selector"],"bookmark":"nil","use_index":["x"]}"#,
        r#"{"index":{"fields":["a",{"b.c":"asc"}],"partial_filter_selector":{"q":{"$in":[1]}}},"ddoc":"d","name":"\u0000"}"#,
        r#"{"language":"query","views":{"n":{"map":{"fields":{"b":"desc","a":"desc"}}}},"index":{"fields":["x"]}}"#,
        "010000000000000000000000016178",
        "",
    ] {
        check(seed.as_bytes());
    }
}
