//! Which language a text is in, roughly, and what its words have in common with their other forms.
//!
//! Guarantees: cheap (a look-up per *distinct* word) and the same on every machine. A wrong guess costs little: words
//! are indexed as they stand, and their stems only bring forms of one word together.

use std::sync::LazyLock;

use hashbrown::HashMap;
use rust_stemmers::{Algorithm, Stemmer};

macro_rules! languages {
    ($($name:ident $script:ident $words:literal)*) => {
        /// A language with a stemmer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub(crate) enum Language { $($name),* }

        impl Language {
            const ALL: &[Self] = &[$(Self::$name),*];

            fn algorithm(self) -> Algorithm {
                match self { $(Self::$name => Algorithm::$name),* }
            }

            const fn script(self) -> Script {
                match self { $(Self::$name => Script::$script),* }
            }

            /// Its commonest words, folded: those that a text of any subject has.
            const fn common_words(self) -> &'static str {
                match self { $(Self::$name => $words),* }
            }
        }
    };
}

// The first one is taken for a Latin text that has none of these words.
languages! {
    English Latin "the and of to is that it for you was with this are be have not at by from your we our will would"
    French Latin "le la les des est et une dans pour que qui sur avec pas vous nous je ce cette au aux plus mais sont votre"
    German Latin "der die das und ist nicht ich sie wir mit den dem ein eine auf fur von zu auch sich wird haben oder bei noch"
    Spanish Latin "el los las una que es por con para del se su lo como mas pero muy esta este hay si gracias nos usted"
    Portuguese Latin "os das dos uma que nao com para por mais voce seu sua foi esta isso obrigado mas muito ao na no em"
    Italian Latin "il che di non per una sono della dei con piu ho ma ci si come anche questo nel alla grazie gli"
    Dutch Latin "de het een van en is niet dat ik je op voor met zijn wij maar ook aan naar nog wel om deze bij"
    Swedish Latin "och att det som en pa ar av for med den till inte jag har vi om ett men du kan fran"
    Danish Latin "og at det som en pa er af for med den til ikke jeg har vi om et men du kan fra hvis"
    Norwegian Latin "og at det som en pa er av for med den til ikke jeg har vi om et men du kan fra hvis deg"
    Finnish Latin "ja on ei se etta oli han en ole mutta kun niin myos joka sita tai kuin jos minun olen"
    Hungarian Latin "a az es hogy nem is egy van volt meg de csak ez azt mar ha vagy kell lesz koszonom"
    Romanian Latin "si de la nu in cu pe sa este o un care mai din ca pentru se am sunt multumesc fi"
    Turkish Latin "ve bir bu icin ile da de cok ne var daha olarak gibi ben sen kadar degil ama sonra"
    Russian Cyrillic "и в не на я что он с это как по но мы вы за из у к для так все если"
    Greek Greek "και το να του η της με που για δεν τα στο ειναι θα την απο σε ο"
    Arabic Arabic "في من علي الي ان عن هذا مع لا ما التي كان هو هذه او كل"
    Tamil Tamil "ஒரு இந்த என்று மற்றும் அந்த என இது"
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Cyrillic,
    Greek,
    Arabic,
    Tamil,
}

impl Script {
    fn of(word: &str) -> Option<Self> {
        match word.chars().find(|character| !character.is_ascii_digit())? {
            'a'..='z' | '\u{00DF}'..='\u{024F}' => Some(Self::Latin),
            '\u{0370}'..='\u{03FF}' => Some(Self::Greek),
            '\u{0400}'..='\u{052F}' => Some(Self::Cyrillic),
            '\u{0600}'..='\u{06FF}' => Some(Self::Arabic),
            '\u{0B80}'..='\u{0BFF}' => Some(Self::Tamil),
            _ => None,
        }
    }
}

/// A set of languages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Languages(u32);

impl Languages {
    /// All.
    pub(crate) const ALL: Self = Self(u32::MAX);

    /// Those that `other` has not.
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The languages in which `folded` is one of the commonest words.
    pub(crate) fn where_common(folded: &str) -> Self {
        static COMMON: LazyLock<HashMap<&str, Languages>> = LazyLock::new(|| {
            let mut common: HashMap<&str, Languages> = HashMap::new();
            for language in Language::ALL {
                for word in language.common_words().split(' ') {
                    common.entry(word).or_default().insert(*language);
                }
            }
            common
        });
        COMMON.get(folded).copied().unwrap_or_default()
    }

    pub(crate) fn contains(self, language: Language) -> bool {
        self.0 & (1 << language as u32) != 0
    }

    /// Adds the language of this number.
    pub(crate) fn insert_number(&mut self, language: u8) {
        self.0 |= 1 << (language & 31);
    }

    pub(crate) fn insert(&mut self, language: Language) {
        self.0 |= 1 << language as u32;
    }

    /// Whether it has the language of this number.
    #[inline]
    pub(crate) fn has_number(self, language: u8) -> bool {
        self.0 >> (language & 31) & 1 == 1
    }

    /// Those in either.
    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The languages of texts whose words like `folded` are stemmed in `language`.
    pub(crate) fn stemming(folded: &str, language: Language) -> Self {
        let mut found = Self::default();
        Language::each()
            .filter(|of_text| of_text.of_word(folded) == Some(language))
            .for_each(|of_text| found.insert(of_text));
        found
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Language> {
        Language::ALL
            .iter()
            .copied()
            .filter(move |language| self.contains(*language))
    }
}

impl Language {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// All of them, in the order in which they are numbered.
    pub(crate) fn each() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied()
    }

    /// The language of a text, of whose words so many are common in each.
    pub(crate) fn guess(evidence: &[u32; Self::COUNT]) -> Self {
        let best = Self::ALL
            .iter()
            .copied()
            .zip(evidence)
            .rev()
            .max_by_key(|(_, count)| **count);
        best.map_or(Self::English, |(language, _)| language)
    }

    /// The stem of a folded word, if the word is written in this language's script.
    pub(crate) fn stem(self, folded: &str) -> Option<String> {
        if Script::of(folded) != Some(self.script()) {
            return None;
        }
        Some(Stemmer::create(self.algorithm()).stem(folded).into_owned())
    }

    /// The language in which a word of a text in `self` is stemmed: a Russian word in an English text is Russian.
    pub(crate) fn of_word(self, folded: &str) -> Option<Self> {
        let script = Script::of(folded)?;
        if self.script() == script {
            return Some(self);
        }
        Self::ALL
            .iter()
            .copied()
            .find(|language| language.script() == script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guessed(text: &str) -> Language {
        let mut evidence = [0; Language::COUNT];
        for word in text.split(' ') {
            for language in Languages::where_common(word).iter() {
                evidence[language as usize] += 1;
            }
        }
        Language::guess(&evidence)
    }

    #[test]
    fn a_text_tells_its_language_by_its_common_words() {
        for (text, language) in [
            ("we will be at the station by noon", Language::English),
            (
                "wir sind mit dem zug auf der reise und haben zeit",
                Language::German,
            ),
            (
                "ik ben niet naar de markt maar het is ook goed",
                Language::Dutch,
            ),
            (
                "nous sommes dans le train avec les enfants",
                Language::French,
            ),
            ("мы едем на поезде и не знаем как", Language::Russian),
            ("ola", Language::English),
        ] {
            assert_eq!(guessed(text), language, "{text}");
        }
    }

    #[test]
    fn forms_of_a_word_share_a_stem() {
        for (language, one, other) in [
            (Language::English, "invoices", "invoice"),
            (Language::German, "rechnungen", "rechnung"),
            (Language::Russian, "письмами", "письма"),
            (Language::French, "continuerons", "continuer"),
        ] {
            assert_eq!(language.stem(one).unwrap(), language.stem(other).unwrap());
        }
        assert_eq!(Language::English.stem("письма"), None);
        assert_eq!(Language::English.of_word("письма"), Some(Language::Russian));
        assert_eq!(Language::Dutch.of_word("2024"), None);
    }
}
