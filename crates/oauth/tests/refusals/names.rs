use adyton_oauth::client_name::{ClientName, MAX_NAME_CHARS};

use crate::{Case, case};

fn name(says: &'static str, text: &str, refusal: &str) -> Case {
    let read = ClientName::parse(text).map_err(|error| format!("{error:?}"));
    case(says, read, refusal)
}

pub fn cases() -> Vec<Case> {
    for good in [
        "Notes",
        "Mail & Calendar (beta)",
        "O’Reilly's Reader, 2nd ed.",
        "Заметки",
        "メモ帳",
        "ملاحظات",
        "हिन्दी नोट्स",
        "Übersicht – Café",
        "3D-Viewer v1.2",
        "한국어 메모",
    ] {
        assert_eq!(ClientName::parse(good).unwrap().as_str(), good);
    }
    let long = "x".repeat(MAX_NAME_CHARS + 1);
    let huge = "x".repeat(1_000_000);
    vec![
        name("an empty name", "", "Length"),
        name("a name one character too long", &long, "Length"),
        name("a name of a million characters", &huge, "Length"),
        name("a name that begins with a space", " Notes", "Spaces"),
        name("a name that ends with a space", "Notes ", "Spaces"),
        name("a name with two spaces", "Notes  by Bank", "Spaces"),
        name("a name with a line end", "Notes\nVerified", "Character"),
        name("a name with a NUL", "Notes\0", "Character"),
        name(
            "a name that turns the writing round",
            "Notes \u{202e}knaB",
            "Character",
        ),
        name(
            "a name that isolates a direction",
            "\u{2067}Notes\u{2069}",
            "Character",
        ),
        name(
            "a name with a mark of direction",
            "Notes\u{200f}",
            "Character",
        ),
        name(
            "a name with a space of no width",
            "No\u{200b}tes",
            "Character",
        ),
        name(
            "a name with a joiner of no width",
            "No\u{200d}tes",
            "Character",
        ),
        name(
            "a name with a byte order mark",
            "\u{feff}Notes",
            "Character",
        ),
        name("a name with a soft hyphen", "No\u{ad}tes", "Character"),
        name(
            "a name with a space that is none",
            "Notes\u{a0}Bank",
            "Character",
        ),
        name(
            "a name with a filler that nobody sees",
            "Notes\u{3164}",
            "Character",
        ),
        name(
            "a name with marks piled on it",
            "N\u{336}o\u{336}tes",
            "Character",
        ),
        name("a name in letters of mathematics", "𝐁𝐚𝐧𝐤", "Character"),
        name("a name in letters of full width", "Ｂａｎｋ", "Character"),
        name("a name in circled letters", "Ⓑank", "Character"),
        name("a name with a picture of a lock", "Bank 🔒", "Character"),
        name("a name with a check mark", "Bank ✓", "Character"),
        name("a name with markup", "<b>Bank</b>", "Character"),
        name("a name with quotes", "\"Bank\"", "Character"),
        name("a name with a scheme", "https://bank", "Character"),
        name("a name with an at sign", "me@bank", "Character"),
        name("a name of punctuation alone", "--", "Character"),
        name(
            "a name with one Cyrillic letter in it",
            "Bаnk",
            "MixedAlphabets",
        ),
        name(
            "a name with one Greek letter in it",
            "Bαnk",
            "MixedAlphabets",
        ),
        name(
            "a name with one Cherokee letter in it",
            "Ꭺpple",
            "MixedAlphabets",
        ),
        name("a name that is a host", "bank.example", "Address"),
        name("a name with a host in it", "Notes by bank.com", "Address"),
        name(
            "a name with a host in another alphabet",
            "банк.рф",
            "Address",
        ),
    ]
}
