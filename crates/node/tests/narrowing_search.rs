//! Narrowing holds for searches: a narrowed view of a mailbox is searched as a mailbox would be in which nothing else is.
//!
//! Random mails, grants and keywords. What is found, how well it fits, what is counted and shown, and what is refused, are the
//! same as in a second mailbox from which everything outside was physically taken out: so no score, typing error, prefix,
//! facet or piece of a text tells of a hidden word.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::atomic::{AtomicUsize, Ordering};

use adyton_client::pull::PlainBatch;
use adyton_couch::rev::{Rev, RevHash};
use adyton_node::memory::{Budget, Documents, QueryError, Search, Searched, View, search};
use adyton_protocol::scope::{FieldName, Instant, Window};
use adyton_search::{Combine, Options, Prefix, Query, Spelling};
use proptest::prelude::*;
use serde_json::{Value, json};

const MAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
const OTHER: &str = "https://example.org/schema.json";
/// Words that are near each other, so that errors and prefixes have something to find.
const WORDS: [&str; 16] = [
    "invoice",
    "invoices",
    "invoiced",
    "invoke",
    "meeting",
    "meetings",
    "meat",
    "lunch",
    "launch",
    "lunar",
    "contract",
    "contact",
    "contracts",
    "secret",
    "secrets",
    "zebra",
];

/// Numbers without a pattern (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.below(WORDS.len())]
    }

    fn text(&mut self, most: usize) -> String {
        let words: Vec<_> = (0..=self.below(most)).map(|_| self.word()).collect();
        words.join(if self.one_in(3) { ", " } else { " " })
    }

    fn mail(&mut self, id: usize) -> Value {
        let mut mail = json!({ "_id": format!("id{id}"), "schema": if self.one_in(8) { OTHER } else { MAIL } });
        for name in ["name", "fromName", "messageText", "indexableText"] {
            if !self.one_in(3) {
                mail[name] = self.text(6).into();
            }
        }
        if self.one_in(2) {
            mail["fromEmail"] = format!("{}@example.org", self.word()).into();
        }
        if self.one_in(3) {
            mail["attachments"] = json!([{ "filename": self.word(), "textContent": self.text(4) }]);
        }
        if !self.one_in(8) {
            mail["sentAt"] = format!("2026-0{}-01T00:00:00.000Z", 1 + self.below(6)).into();
        }
        mail
    }

    fn keywords(&mut self) -> String {
        let parts = (0..=self.below(3)).map(|_| {
            let word = self.word();
            match self.below(9) {
                0 => format!("\"{word} {}\"", self.word()),
                1 => format!("-{word}"),
                2 => format!("{}*", &word[..2 + self.below(3)]),
                3 => format!("+{word}"),
                // A typing error.
                4 => word.replacen('e', "", 1),
                5 => word.replacen('n', "m", 1),
                _ => word.to_owned(),
            }
        });
        parts.collect::<Vec<_>>().join(" ")
    }

    fn search(&mut self) -> Search {
        let fields = match self.below(6) {
            0 => vec!["messageText".to_owned()],
            1 => vec!["name".to_owned(), "fromName".to_owned()],
            _ => Vec::new(),
        };
        let facets = match self.below(4) {
            0 => vec!["month".to_owned()],
            1 => vec!["sender".to_owned()],
            _ => Vec::new(),
        };
        let typed = self.keywords();
        Search {
            query: Query::parse(&typed).unwrap(),
            typed,
            options: Options {
                combine: [Combine::Any, Combine::All, Combine::Any][self.below(3)],
                prefix: [Prefix::Last, Prefix::Every, Prefix::Starred][self.below(3)],
                spelling: [Spelling::WhenFew, Spelling::Tolerant, Spelling::Exact][self.below(3)],
                now: self.one_in(2).then_some(1_780_000_000_000),
                fields,
                ..Options::default()
            },
            limit: [3, 100][self.below(2)],
            least_of_each: 0,
            after: None,
            facets,
            highlight: self.one_in(2),
        }
    }
}

#[derive(Debug, Clone)]
struct Grant {
    from: Option<usize>,
    until: Option<usize>,
    without: Vec<&'static str>,
}

impl Grant {
    fn of(dice: &mut Dice) -> Self {
        let hidden = [
            "messageText",
            "name",
            "fromName",
            "attachments.textContent",
            "indexableText",
            "sentAt",
            "from",
        ];
        let without = match dice.one_in(3) {
            true => Vec::new(),
            false => hidden.into_iter().filter(|_| dice.one_in(3)).collect(),
        };
        let from = dice.one_in(2).then(|| 1 + dice.below(4));
        let until = dice
            .one_in(2)
            .then(|| from.unwrap_or(1) + 1 + dice.below(3));
        Self {
            from,
            until,
            without,
        }
    }

    fn view(&self, is_windowed: bool) -> View {
        let moment = |month: Option<usize>| {
            month
                .filter(|_| is_windowed)
                .map(|month| Instant::parse(format!("2026-0{month}-01").as_bytes()).unwrap())
        };
        let window = Window::new(moment(self.from), moment(self.until)).unwrap();
        let fields: Vec<_> = self
            .without
            .iter()
            .map(|field| FieldName::parse(field).unwrap())
            .collect();
        View::of_schema(MAIL).during(window).without(&fields)
    }

    fn has(&self, mail: &Value) -> bool {
        if mail["schema"] != MAIL {
            return false;
        }
        if self.from.is_none() && self.until.is_none() {
            return true;
        }
        // The times of this test are the firsts of months.
        let month = mail["sentAt"]
            .as_str()
            .map(|time| time[5..7].parse::<usize>().unwrap());
        month.is_some_and(|month| {
            self.from.is_none_or(|from| from <= month)
                && self.until.is_none_or(|until| month < until)
        })
    }

    fn reduce(&self, mail: &Value) -> Value {
        let mut mail = mail.clone();
        let members = mail.as_object_mut().unwrap();
        for field in &self.without {
            members.remove(*field);
        }
        if self.without.contains(&"attachments.textContent") {
            for attachment in members
                .get_mut("attachments")
                .into_iter()
                .flat_map(|list| list.as_array_mut().unwrap())
            {
                attachment.as_object_mut().unwrap().remove("textContent");
            }
        }
        mail
    }
}

fn put<'m>(documents: &mut Documents, mails: impl Iterator<Item = &'m Value>) {
    let mut batch = PlainBatch::default();
    for mail in mails {
        let id = mail["_id"].as_str().unwrap();
        let rev = Rev::new(1, RevHash::from_bytes([id.len() as u8; 16])).unwrap();
        batch.push(id, rev, mail.to_string().as_bytes()).unwrap();
    }
    documents.apply(batch).unwrap();
}

fn answer(documents: &Documents, view: &View, asked: &Search) -> Result<Value, QueryError> {
    while !documents.read_words(MAIL).unwrap() {}
    let found = search(&[Searched { documents, view }], asked)?.unwrap();
    let items: Vec<_> = found.items.iter().map(|item| {
        let mut served = Vec::new();
        item.document.write_to(&mut served);
        // Of a sum of parts the last digits depend on their order.
        let score = format!("{:.3}", item.score);
        json!({
            "record": serde_json::from_slice::<Value>(&served).unwrap(), "score": score, "time": item.time,
            "matches": format!("{:?}", item.matches), "pieces": item.pieces,
        })
    }).collect();
    let next = found
        .next
        .map(|place| json!([place.id, place.time, format!("{:.3}", place.score)]));
    Ok(json!({ "items": items, "totals": found.totals, "facets": found.facets, "next": next }))
}

static CASES: AtomicUsize = AtomicUsize::new(0);
static FOUND: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

fn hold(seed: u64) {
    let mut dice = Dice(seed);
    let count = dice.below(60);
    let old: Vec<_> = (0..count).map(|id| dice.mail(id)).collect();
    // Some are written again, with other words.
    let mails: Vec<_> = old
        .iter()
        .enumerate()
        .map(|(id, mail)| {
            if dice.one_in(4) {
                dice.mail(id)
            } else {
                mail.clone()
            }
        })
        .collect();
    let mut whole = Documents::new(Budget::new(64 << 20));
    put(&mut whole, old.iter());
    while !whole.read_words(MAIL).unwrap() {}
    put(&mut whole, mails.iter());
    for _ in 0..4 {
        let grant = Grant::of(&mut dice);
        let view = grant.view(true);
        // Where the time itself was taken out, the window can no longer be told there; it has done its part.
        let same = grant.view(!grant.without.contains(&"sentAt"));
        let reduced: Vec<_> = mails
            .iter()
            .filter(|mail| grant.has(mail))
            .map(|mail| grant.reduce(mail))
            .collect();
        let mut small = Documents::new(Budget::new(64 << 20));
        put(&mut small, reduced.iter());
        for _ in 0..8 {
            let asked = dice.search();
            let (here, there) = (answer(&whole, &view, &asked), answer(&small, &same, &asked));
            assert_eq!(here, there, "{grant:?} {asked:?}");
            CASES.fetch_add(1, Ordering::Relaxed);
            match here {
                Ok(found) if found["totals"][0] != 0 => FOUND.fetch_add(1, Ordering::Relaxed),
                Ok(_) => 0,
                Err(_) => REFUSED.fetch_add(1, Ordering::Relaxed),
            };
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 130, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    fn seeds(seed in any::<u64>()) {
        hold(seed);
    }
}

#[test]
fn no_search_tells_of_what_is_hidden() {
    seeds();
    let [cases, found, refused] =
        [&CASES, &FOUND, &REFUSED].map(|count| count.load(Ordering::Relaxed));
    assert!(
        cases >= 4_000 && found > cases / 4 && refused > cases / 50,
        "{cases} cases, {found} found, {refused} refused"
    );
}
