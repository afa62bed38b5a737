//! Which spellings are the same: case, accents, width and ligatures do not count.
//!
//! Guarantees: folding what is folded changes nothing. What is a letter of its own in its script stays one
//! (Cyrillic й, Japanese が, the vowel signs of India); what only decorates a letter goes (é, ё, Arabic vowels).

use unicode_normalization::UnicodeNormalization;

/// Appends the folded form of `word`.
pub(crate) fn fold(word: &str, out: &mut String) {
    for character in word.chars() {
        if character.is_ascii() {
            out.push(character.to_ascii_lowercase());
        } else {
            fold_one(character, out);
        }
    }
}

fn fold_one(character: char, out: &mut String) {
    match character {
        'ß' | 'ẞ' => out.push_str("ss"),
        'æ' | 'Æ' => out.push_str("ae"),
        'œ' | 'Œ' => out.push_str("oe"),
        'þ' | 'Þ' => out.push_str("th"),
        'ø' | 'Ø' => out.push('o'),
        'đ' | 'Đ' | 'ð' | 'Ð' => out.push('d'),
        'ł' | 'Ł' => out.push('l'),
        'ı' | 'İ' => out.push('i'),
        'ς' => out.push('σ'),
        'й' | 'Й' => out.push('й'),
        'ї' | 'Ї' => out.push('ї'),
        'ة' => out.push('ه'),
        'ى' => out.push('ي'),
        // Joiners, and the stroke that only makes an Arabic word longer.
        '\u{200C}' | '\u{200D}' | '\u{0640}' | '\u{FE00}'..='\u{FE0F}' => {}
        _ if is_decoration(character) => {}
        _ if comes_apart(character) => {
            for part in std::iter::once(character).nfkd() {
                if !is_decoration(part) {
                    out.extend(part.to_lowercase().filter(|part| !is_decoration(*part)));
                }
            }
        }
        _ => out.extend(character.to_lowercase()),
    }
}

/// Marks above and below letters, in scripts that can do without them.
fn is_decoration(character: char) -> bool {
    matches!(character, '\u{0300}'..='\u{036F}' | '\u{0591}'..='\u{05BD}' | '\u{05BF}'..='\u{05C7}'
        | '\u{064B}'..='\u{065F}' | '\u{0670}')
}

/// Blocks in which a letter's decomposition is its plain letter and decorations.
fn comes_apart(character: char) -> bool {
    matches!(character, '\u{00AA}'..='\u{058F}' | '\u{0622}'..='\u{0626}' | '\u{1E00}'..='\u{1FFF}'
        | '\u{FB00}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}' | '\u{FF01}'..='\u{FF5E}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(word: &str) -> String {
        let mut out = String::new();
        fold(word, &mut out);
        out
    }

    #[test]
    fn spellings_of_one_word_fold_to_one() {
        for (word, expected) in [
            ("Größe", "grosse"),
            ("CAFÉ", "cafe"),
            ("cafe\u{0301}", "cafe"),
            ("Ærø", "aero"),
            ("Łódź", "lodz"),
            ("ＦＵＬＬ", "full"),
            ("ﬁne", "fine"),
            ("Ёлка", "елка"),
            ("йод", "йод"),
            ("ὈΔΥΣΣΕΎΣ", "οδυσσευσ"),
            ("İstanbul", "istanbul"),
            ("أحمد", "احمد"),
            ("שָׁלוֹם", "שלום"),
            ("がんばる", "がんばる"),
            ("한국어", "한국어"),
            ("हिन्दी", "हिन्दी"),
        ] {
            assert_eq!(folded(word), expected);
            assert_eq!(folded(expected), expected);
        }
    }
}
