//! What an index has for one word or phrase of a query: documents, and how much of it each has.

use crate::bits::Bits;
use crate::expand::{Variant, expand};
use crate::index::{Index, length_of};
use crate::plan::{FieldSet, MAX_FIELDS};
use crate::postings::Entry;
use crate::query::Leaf;
use crate::search::{Options, Sight};
use crate::text::Languages;

/// How much the length of a field counts.
const B: f32 = 0.5;

/// The documents of a leaf.
pub(crate) struct LeafHits {
    /// Document and how much of the word it has, ascending.
    pub(crate) hits: Vec<(u32, f32)>,
    /// Documents that have the word or a form of it; those that have anything like it, if none has.
    pub(crate) docs: usize,
    pub(crate) variants: Vec<Variant>,
    pub(crate) is_phrase: bool,
    pub(crate) fields: FieldSet,
}

/// What a word in each field counts, by the field's length.
pub(crate) struct Weights {
    of_field: Vec<[f32; 256]>,
}

impl Weights {
    pub(crate) fn new(index: &Index, options: &Options, sight: &Sight<'_>) -> Self {
        let means = index.mean_lengths(sight.docs);
        let mut boosts = [1.0; MAX_FIELDS];
        for (name, factor) in &options.boosts {
            let fields = index.named(name);
            for (field, boost) in (0_u8..).zip(&mut boosts) {
                if fields.contains(field) {
                    *boost *= factor;
                }
            }
        }
        let of_field = index
            .plan()
            .fields
            .iter()
            .zip(means)
            .zip(boosts)
            .map(|((field, mean), boost)| {
                let mut by_length = [0.0; 256];
                for (code, weight) in (0..=u8::MAX).zip(&mut by_length) {
                    let length = length_of(code) as f32;
                    *weight = field.weight * boost / (1.0 - B + B * length / mean);
                }
                by_length
            })
            .collect();
        Self { of_field }
    }

    #[inline]
    fn amount(&self, index: &Index, entry: Entry<'_>, fields: FieldSet) -> f32 {
        let mut amount = 0.0;
        for hits in entry.fields().filter(|hits| fields.contains(hits.field)) {
            amount += hits.count as f32 * self.of(index, entry.doc, hits.field);
        }
        amount
    }

    #[inline]
    fn of(&self, index: &Index, doc: u32, field: u8) -> f32 {
        let code = index.length_code(doc, field);
        self.of_field
            .get(usize::from(field))
            .and_then(|by_length| by_length.get(usize::from(code)))
            .copied()
            .unwrap_or(0.0)
    }
}

/// What an index has for a leaf.
pub(crate) fn gather_leaf(
    index: &Index,
    leaf: &Leaf,
    is_open: bool,
    options: &Options,
    sight: &Sight<'_>,
    weights: &Weights,
    allowed: FieldSet,
) -> LeafHits {
    let fields = match &leaf.field {
        Some(name) => {
            let fields = index.named(name);
            // A name that no field has is a word before a colon: nothing more is asked of it.
            if fields.is_empty() {
                allowed
            } else {
                allowed.common(fields)
            }
        }
        None => allowed,
    };
    let [word] = leaf.words.as_slice() else {
        return gather_phrase(index, leaf, sight, weights, fields);
    };
    let mut variants = match leaf.is_exact {
        true => index
            .terms
            .find(word)
            .into_iter()
            .map(Variant::itself)
            .collect(),
        false => expand(index, sight, options, word, is_open),
    };
    let (hits, docs) = match variants.as_slice() {
        [] => (Vec::new(), 0),
        [variant] => {
            let hits = hits_of(index, *variant, sight, weights, fields);
            let docs = hits.len();
            (hits, docs)
        }
        several => merge(index, several, sight, weights, fields),
    };
    variants.retain(|variant| !hits.is_empty() && index.terms.term(variant.term).is_some());
    LeafHits {
        hits,
        docs,
        variants,
        is_phrase: false,
        fields,
    }
}

impl Variant {
    fn itself(term: u32) -> Self {
        Self {
            term,
            weight: 1.0,
            is_form: true,
            only_in: Languages::ALL,
        }
    }

    pub(crate) fn counts_in(&self, index: &Index, doc: u32) -> bool {
        self.only_in.has_number(index.language_of(doc))
    }
}

fn hits_of(
    index: &Index,
    variant: Variant,
    sight: &Sight<'_>,
    weights: &Weights,
    fields: FieldSet,
) -> Vec<(u32, f32)> {
    index
        .terms
        .postings(variant.term)
        .entries()
        .filter(|entry| sight.sees_doc(entry.doc) && variant.counts_in(index, entry.doc))
        .map(|entry| {
            (
                entry.doc,
                variant.weight * weights.amount(index, entry, fields),
            )
        })
        .filter(|(_, amount)| *amount > 0.0)
        .collect()
}

/// The hits of several words that mean one, and how many documents have the word itself or a form of it.
fn merge(
    index: &Index,
    variants: &[Variant],
    sight: &Sight<'_>,
    weights: &Weights,
    fields: FieldSet,
) -> (Vec<(u32, f32)>, usize) {
    let mut amounts = vec![0_f32; index.extent()];
    let (mut all, mut with_form) = (
        Bits::with_room(index.extent()),
        Bits::with_room(index.extent()),
    );
    for variant in variants {
        for (doc, amount) in hits_of(index, *variant, sight, weights, fields) {
            if let Some(sum) = amounts.get_mut(doc as usize) {
                *sum += amount;
            }
            all.insert(doc);
            if variant.is_form {
                with_form.insert(doc);
            }
        }
    }
    let hits: Vec<(u32, f32)> = all
        .iter()
        .map(|doc| (doc, amounts.get(doc as usize).copied().unwrap_or(0.0)))
        .collect();
    let docs = match with_form.len() {
        0 => hits.len(),
        docs => docs,
    };
    (hits, docs)
}

fn gather_phrase(
    index: &Index,
    leaf: &Leaf,
    sight: &Sight<'_>,
    weights: &Weights,
    fields: FieldSet,
) -> LeafHits {
    let terms: Option<Vec<u32>> = leaf
        .words
        .iter()
        .map(|word| index.terms.find(word))
        .collect();
    let mut found = LeafHits {
        hits: Vec::new(),
        docs: 0,
        variants: Vec::new(),
        is_phrase: true,
        fields,
    };
    let Some(terms) = terms else {
        return found;
    };
    let rarest = (0..terms.len()).min_by_key(|at| {
        let term = terms.get(*at).and_then(|term| index.terms.term(*term));
        term.map_or(0, |term| term.docs)
    });
    let Some(rarest) = rarest.and_then(|at| terms.get(at)) else {
        return found;
    };
    let mut seekers: Vec<_> = terms
        .iter()
        .map(|term| index.terms.postings(*term).seeker())
        .collect();
    let (mut entries, mut starts) = (Vec::with_capacity(terms.len()), Vec::new());
    for doc in index
        .terms
        .postings(*rarest)
        .entries()
        .map(|entry| entry.doc)
    {
        if !sight.sees_doc(doc) {
            continue;
        }
        entries.clear();
        let all = seekers.iter_mut().map(|seeker| seeker.seek(doc));
        entries.extend(all.map_while(|entry| entry.filter(|entry| entry.doc == doc)));
        let [first, rest @ ..] = entries.as_slice() else {
            continue;
        };
        if entries.len() < terms.len() {
            continue;
        }
        let mut amount = 0.0;
        for hits in first.fields().filter(|hits| fields.contains(hits.field)) {
            starts.clear();
            starts.extend(first.places(hits.field));
            for (entry, distance) in rest.iter().zip(1_u32..) {
                let mut places = entry.places(hits.field).peekable();
                starts.retain(|start| {
                    while places.next_if(|place| *place < start + distance).is_some() {}
                    places.peek() == Some(&(start + distance))
                });
            }
            amount += starts.len() as f32 * weights.of(index, doc, hits.field);
        }
        if amount > 0.0 {
            found.hits.push((doc, amount));
        }
    }
    found.docs = found.hits.len();
    found.variants = terms.into_iter().map(Variant::itself).collect();
    found
}
