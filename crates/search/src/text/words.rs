//! The words of a text, in order, folded.
//!
//! Guarantees: one pass, no panic, linear time; every word says where it stood. Letters and digits make words;
//! addresses, links and dates fall into their parts, which stand side by side, so that a phrase finds them whole.
//! Scripts that are written without spaces give every pair of neighbours (and the last sign of a run alone), so that
//! any part of a run is found.

use super::fold::fold;
use super::noise;

/// The longest word that is kept; what is longer was written by a machine.
pub(crate) const MAX_WORD_BYTES: usize = 64;

/// What a text is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// To be found: tags are left out.
    Text,
    /// To be found: tags are left out, and so is what it quotes.
    Mail,
    /// To find: as it stands.
    Query,
}

/// A word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word<'w> {
    /// Its folded form.
    pub(crate) folded: &'w str,
    /// Its place among the words, from 0.
    pub(crate) position: u32,
    /// Where it begins in the text.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
}

/// Reads words; keeps its memory for the next text.
#[derive(Debug, Default)]
pub(crate) struct Words {
    folded: String,
}

impl Words {
    /// Calls `each` with every word of `text`, until it says that it has enough.
    pub(crate) fn read(
        &mut self,
        text: &str,
        reading: Reading,
        mut each: impl FnMut(Word<'_>) -> bool,
    ) {
        let bytes = text.as_bytes();
        let (mut at, mut position, mut has_tags) = (0, 0_u32, false);
        let mut line_begins = true;
        while let Some(byte) = bytes.get(at).copied() {
            if line_begins
                && reading == Reading::Mail
                && let Some(end) = noise::quote_end(bytes, at)
            {
                at = end.max(at + 1);
                continue;
            }
            line_begins = byte == b'\n';
            match byte {
                b'<' if reading != Reading::Query => {
                    let end = noise::tag_end(bytes, at);
                    has_tags |= end.is_some();
                    at = end.unwrap_or(at + 1);
                    continue;
                }
                b'&' if has_tags => {
                    at = noise::entity_end(bytes, at).unwrap_or(at + 1);
                    continue;
                }
                _ if byte.is_ascii() && !byte.is_ascii_alphanumeric() => {
                    at += 1;
                    continue;
                }
                _ => {}
            }
            let run = Run::at(text, at);
            if run.end == at {
                at += text
                    .get(at..)
                    .and_then(|rest| rest.chars().next())
                    .map_or(1, char::len_utf8);
                continue;
            }
            let goes_on = match run.kind {
                Kind::Unspaced => self.pairs(text, &run, reading, &mut position, &mut each),
                Kind::Spaced => self.word(text, run.start, run.end, &mut position, &mut each),
                Kind::Left => true,
            };
            if !goes_on {
                return;
            }
            at = run.end.max(run.next);
        }
    }

    fn word(
        &mut self,
        text: &str,
        start: usize,
        end: usize,
        position: &mut u32,
        each: &mut impl FnMut(Word<'_>) -> bool,
    ) -> bool {
        let place = *position;
        *position = position.saturating_add(1);
        if end - start > MAX_WORD_BYTES {
            return true;
        }
        self.folded.clear();
        let Some(word) = text.get(start..end) else {
            return true;
        };
        if word
            .bytes()
            .any(|byte| matches!(byte, b',' | b'\'') || byte >= 0x80)
        {
            // Thousands are written with commas, and `don't` with an apostrophe.
            for part in word.split([',', '\'', '\u{2019}']) {
                fold(part, &mut self.folded);
            }
        } else {
            self.folded.push_str(word);
            self.folded.make_ascii_lowercase();
        }
        if self.folded.is_empty() {
            return true;
        }
        each(Word {
            folded: &self.folded,
            position: place,
            start,
            end,
        })
    }

    fn pairs(
        &mut self,
        text: &str,
        run: &Run,
        reading: Reading,
        position: &mut u32,
        each: &mut impl FnMut(Word<'_>) -> bool,
    ) -> bool {
        let Some(signs) = text.get(run.start..run.end) else {
            return true;
        };
        let mut starts = signs
            .char_indices()
            .map(|(at, _)| run.start + at)
            .peekable();
        let mut is_first = true;
        while let Some(start) = starts.next() {
            let mut ahead = starts.clone();
            let second = ahead.next();
            let end = match second {
                Some(_) => ahead.next().unwrap_or(run.end),
                // The last sign of a run, alone: so that one sign finds every place where it stands.
                None if reading == Reading::Query && !is_first => return true,
                None => run.end,
            };
            is_first = false;
            if !self.word(text, start, end, position, each) {
                return false;
            }
        }
        true
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A word between spaces.
    Spaced,
    /// A run of a script that has no spaces.
    Unspaced,
    /// An article before an apostrophe: not a word.
    Left,
}

/// Signs that belong together.
struct Run {
    kind: Kind,
    start: usize,
    end: usize,
    /// Where to go on, when that is beyond the end.
    next: usize,
}

impl Run {
    fn at(text: &str, start: usize) -> Self {
        let rest = text.get(start..).unwrap_or_default();
        if rest.chars().next().is_some_and(is_unspaced) {
            let end = start + extent(rest, is_unspaced);
            return Self {
                kind: Kind::Unspaced,
                start,
                end,
                next: end,
            };
        }
        let mut end = start + extent(rest, is_spaced);
        let spaced = |end, next| Self {
            kind: Kind::Spaced,
            start,
            end,
            next,
        };
        if end == start {
            return spaced(end, end);
        }
        // 12,500 is one number.
        while is_number(text, start, end) && thousands_follow(text, end) {
            end += 4;
        }
        let Some((mark, after)) = apostrophe(text, end) else {
            return spaced(end, end);
        };
        let tail = text.get(after..).map_or(0, |rest| extent(rest, is_spaced));
        match text.get(after..after + tail).unwrap_or_default() {
            "" => spaced(end, end),
            "s" | "S" | "d" | "m" | "ll" | "re" | "ve" => spaced(end, after + tail),
            "t" | "T" if mark => spaced(after + tail, after + tail),
            _ if end - start <= 2 || text.get(start..end).is_some_and(is_article) => Self {
                kind: Kind::Left,
                start,
                end,
                next: after,
            },
            _ => spaced(end, end),
        }
    }
}

/// Articles and prepositions that lose their last letter before a vowel.
fn is_article(word: &str) -> bool {
    [
        "qu", "dell", "nell", "sull", "dall", "all", "jusqu", "lorsqu", "puisqu",
    ]
    .iter()
    .any(|article| word.eq_ignore_ascii_case(article))
}

/// Whether the apostrophe at `at` is there, is ASCII or not, and where it ends.
fn apostrophe(text: &str, at: usize) -> Option<(bool, usize)> {
    let rest = text.get(at..)?;
    ['\'', '\u{2019}']
        .into_iter()
        .find(|mark| rest.starts_with(*mark))
        .map(|mark| (true, at + mark.len_utf8()))
}

fn is_number(text: &str, start: usize, end: usize) -> bool {
    text.as_bytes().get(start..end).is_some_and(|word| {
        word.iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b',')
    })
}

fn thousands_follow(text: &str, at: usize) -> bool {
    let mut following = text.as_bytes().iter().skip(at).take(5);
    following.next() == Some(&b',')
        && following
            .clone()
            .take(3)
            .filter(|byte| byte.is_ascii_digit())
            .count()
            == 3
        && !following.nth(3).is_some_and(u8::is_ascii_digit)
}

fn extent(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.char_indices()
        .find(|(_, character)| !belongs(*character))
        .map_or(text.len(), |(at, _)| at)
}

fn is_spaced(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric();
    }
    (character.is_alphanumeric() || is_mark(character)) && !is_unspaced(character)
}

/// Marks that stand inside words.
fn is_mark(character: char) -> bool {
    matches!(character, '\u{0300}'..='\u{036F}' | '\u{0483}'..='\u{0487}' | '\u{0591}'..='\u{05BD}'
        | '\u{05BF}' | '\u{05C1}'..='\u{05C2}' | '\u{064B}'..='\u{065F}' | '\u{0670}'
        | '\u{0900}'..='\u{0963}' | '\u{0970}'..='\u{0DF3}' | '\u{200C}'..='\u{200D}' | '\u{0640}')
}

/// Scripts whose words stand without spaces between them.
fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{0E01}'..='\u{0E3A}' | '\u{0E40}'..='\u{0E4E}' | '\u{0E81}'..='\u{0ECE}'
        | '\u{1000}'..='\u{1049}' | '\u{1780}'..='\u{17D3}'
        | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{309F}' | '\u{30A1}'..='\u{30FA}' | '\u{30FC}'..='\u{30FF}'
        | '\u{3105}'..='\u{312F}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7A3}' | '\u{F900}'..='\u{FAFF}' | '\u{FF66}'..='\u{FF9F}'
        | '\u{20000}'..='\u{3FFFD}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, reading: Reading) -> Vec<String> {
        let mut found = Vec::new();
        Words::default().read(text, reading, |word| {
            assert!(word.start < word.end && text.get(word.start..word.end).is_some());
            found.push(word.folded.to_owned());
            true
        });
        found
    }

    #[test]
    fn words_are_letters_and_digits() {
        let text =
            "Zoë's e-mail: zoe.m@example.com, https://x.org/a?b=1 on 2024-05-01 for 12,500.75!";
        let expected = [
            "zoe", "e", "mail", "zoe", "m", "example", "com", "https", "x", "org", "a", "b", "1",
            "on", "2024", "05", "01", "for", "12500", "75",
        ];
        assert_eq!(words(text, Reading::Text), expected);
        assert_eq!(
            words("don't won’t we'll", Reading::Text),
            ["dont", "wont", "we"]
        );
        assert_eq!(
            words("l'avion qu'il dell'arte", Reading::Text),
            ["avion", "il", "arte"]
        );
        assert_eq!(
            words("1,2 and 1,2345", Reading::Text),
            ["1", "2", "and", "1", "2345"]
        );
    }

    #[test]
    fn unspaced_scripts_give_pairs() {
        assert_eq!(
            words("東京都 cat", Reading::Text),
            ["東京", "京都", "都", "cat"]
        );
        assert_eq!(words("東京都", Reading::Query), ["東京", "京都"]);
        assert_eq!(words("猫", Reading::Query), ["猫"]);
        assert_eq!(words("한국", Reading::Query), ["한국"]);
        assert_eq!(words("हिन्दी भाषा", Reading::Text), ["हिन्दी", "भाषा"]);
    }

    #[test]
    fn what_a_mail_quotes_is_not_its_words() {
        let text = "Yes, Friday.\r\n\r\nOn Mon, 3 Jun 2024 at 10:00, Ann <ann@x.org>\r\nwrote:\r\n> Friday or Monday?\r\n> > old\r\nBye";
        assert_eq!(words(text, Reading::Mail), ["yes", "friday", "bye"]);
        assert_eq!(
            words("On time.\nAm I?\n", Reading::Mail),
            ["on", "time", "am", "i"]
        );
        assert_eq!(words("a > b", Reading::Mail), ["a", "b"]);
    }

    #[test]
    fn tags_scripts_and_styles_are_not_words() {
        let text = "<html><head><title>t</title></head><style>p{}</style><p class=\"x\">Hello&nbsp;<b>big</b> world</p><!-- no --><script>var x</script> end <ann@x.org> 1 < 2";
        let expected = ["hello", "big", "world", "end", "ann", "x", "org", "1", "2"];
        assert_eq!(words(text, Reading::Text), expected);
    }

    #[test]
    fn a_machines_word_is_left_out_and_keeps_its_place() {
        let text = format!("a {} b", "x".repeat(65));
        let mut places = Vec::new();
        Words::default().read(&text, Reading::Text, |word| {
            places.push(word.position);
            true
        });
        assert_eq!(places, [0, 2]);
    }
}
