//! The words of an index that a word of a query means: itself, its forms, what begins with it, what it may be a typing
//! error of.
//!
//! Guarantees: which words are chosen depends on nothing but the documents and fields that the caller sees: a word that
//! only others have takes nobody's place.

use crate::index::Index;
use crate::search::{Options, Sight, Spelling};
use crate::terms::distance;
use crate::text::{Language, Languages};

/// Most words that begin alike, and most that may be meant by a typing error.
const MAX_LIKE: usize = 48;
/// With so many documents, nobody made a typing error.
const ENOUGH: usize = 1;

/// A word of the index, and how much it counts as the word asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Variant {
    pub(crate) term: u32,
    pub(crate) weight: f32,
    /// Whether it is the word itself, or a form of it.
    pub(crate) is_form: bool,
    /// Only in documents of these languages: elsewhere it is another word, or counts differently.
    pub(crate) only_in: Languages,
}

const STEM_WEIGHT: f32 = 0.8;
const PREFIX_WEIGHT: f32 = 0.6;

/// The words that `word` means in this index.
pub(crate) fn expand(
    index: &Index,
    sight: &Sight<'_>,
    options: &Options,
    word: &str,
    is_open: bool,
) -> Vec<Variant> {
    let mut found: Vec<Variant> = Vec::new();
    let mut seen = 0;
    let add = |found: &mut Vec<Variant>, term: u32, weight: f32, is_form: bool| {
        let same = found.iter().filter(|variant| variant.term == term);
        let only_in = same.fold(Languages::ALL, |rest, variant| {
            rest.without(variant.only_in)
        });
        if !only_in.is_empty() {
            found.push(Variant {
                term,
                weight,
                is_form,
                only_in,
            });
        }
    };
    if let Some(term) = index.terms.find(word) {
        add(&mut found, term, 1.0, true);
    }
    let spoken = found
        .first()
        .map(|itself| sight.languages_of(index, itself.term));
    found.extend(forms(index, sight, word, spoken));
    for variant in &found {
        seen += sight.documents_with(index, variant, ENOUGH);
    }
    let length = word.chars().count();
    let is_sign = length == 1 && word.bytes().all(|byte| byte >= 0x80);
    if is_sign || is_open && length >= 2 {
        let mut begun: Vec<(u32, f32)> = index
            .terms
            .with_prefix(word)
            .iter()
            .filter(|term| sight.is_everything() || sight.sees(index, **term))
            .map(|term| {
                let longer = index.terms.word(*term).chars().count();
                (
                    *term,
                    PREFIX_WEIGHT * (length as f32 / longer.max(1) as f32).sqrt(),
                )
            })
            .collect();
        keep_best(&mut begun);
        for (term, weight) in begun {
            add(&mut found, term, if is_sign { 1.0 } else { weight }, false);
            seen += 1;
        }
    }
    let looks_for_errors = match options.spelling {
        Spelling::Exact => false,
        Spelling::WhenFew => seen < ENOUGH,
        Spelling::Tolerant => true,
    };
    let allowed = allowed_errors(word, length).min(options.most_errors);
    if looks_for_errors && allowed > 0 {
        let letters: Vec<char> = word.chars().collect();
        let first: String = letters.iter().take(1).collect();
        let mut other = Vec::new();
        let mut like: Vec<(u32, f32)> = Vec::new();
        for term in index.terms.with_prefix(&first) {
            let candidate = index.terms.word(*term);
            if candidate.len().abs_diff(word.len()) > allowed * 4 {
                continue;
            }
            other.clear();
            other.extend(candidate.chars());
            let Some(errors @ 1..) = distance(&letters, &other, allowed) else {
                continue;
            };
            if sight.sees(index, *term) {
                like.push((*term, if errors == 1 { 0.45 } else { 0.2 }));
            }
        }
        keep_best(&mut like);
        for (term, weight) in like {
            add(&mut found, term, weight, false);
        }
    }
    found
}

/// The other forms of a word: those with its stem in a language in which it is spoken, or in any when nobody spoke it; in the order of their spelling, so that sums of scores do not depend on
/// the order in which they came.
fn forms(index: &Index, sight: &Sight<'_>, word: &str, spoken: Option<Languages>) -> Vec<Variant> {
    let mut with_stem = Vec::new();
    let mut found: Vec<Variant> = Vec::new();
    for language in Language::each() {
        let Some(stem) = language.stem(word) else {
            continue;
        };
        with_stem.clear();
        let only_in = match sight.without.is_empty() {
            true => {
                let texts = Languages::stemming(word, language);
                let is_spoken = |text| spoken.is_none_or(|spoken| spoken.contains(text));
                if !texts.iter().any(is_spoken) {
                    continue;
                }
                if texts
                    .iter()
                    .all(|text| index.spoken.get(text as usize) == Some(&0))
                {
                    continue;
                }
                index.terms.with_stem(language, &stem, &mut with_stem);
                texts
            }
            // What language a document is in was learnt from all of its fields: here it must not matter.
            false => {
                let beginning: String = word.chars().take(3).collect();
                let candidates = index.terms.with_prefix(&beginning).iter().copied();
                with_stem.extend(candidates.filter(|term| {
                    language.stem(index.terms.word(*term)).as_deref() == Some(&*stem)
                }));
                Languages::ALL
            }
        };
        for term in with_stem
            .iter()
            .copied()
            .filter(|term| index.terms.word(*term) != word)
        {
            match found.iter_mut().find(|variant| variant.term == term) {
                Some(variant) => variant.only_in = variant.only_in.union(only_in),
                None => found.push(Variant {
                    term,
                    weight: STEM_WEIGHT,
                    is_form: true,
                    only_in,
                }),
            }
        }
    }
    found.sort_unstable_by(|one, other| {
        index.terms.word(one.term).cmp(index.terms.word(other.term))
    });
    found
}

/// Short words have too many neighbours, and numbers are not mistyped letters.
fn allowed_errors(word: &str, length: usize) -> usize {
    match length {
        _ if word.bytes().any(|byte| byte.is_ascii_digit()) => 0,
        0..=3 => 0,
        4..=7 => 1,
        _ => 2,
    }
}

/// The best by weight; the order among equals is that of their spelling, in which they come.
fn keep_best(terms: &mut Vec<(u32, f32)>) {
    if terms.len() > MAX_LIKE {
        terms.sort_by(|one, other| other.1.total_cmp(&one.1));
        terms.truncate(MAX_LIKE);
    }
}
