//! Whose mailbox this is: decides which messages were sent and which received.

use std::collections::HashMap;
use std::io::Read;

use mail_parser::{HeaderName, HeaderValue, Message, MessageParser};

use super::mbox::{Entry, Mbox, MboxError};

/// How many messages are looked at to find the owner.
const MESSAGES_LOOKED_AT: usize = 500;

/// At most this many different addresses are counted while the owner is looked for.
const MAX_CANDIDATES: usize = 10_000;

/// Gmail translates the label of sent mail. These are its names in the languages we know.
const SENT_LABELS: &[&str] = &[
    "sent",
    "sent mail",
    "gesendet",
    "envoyés",
    "messages envoyés",
    "enviados",
    "enviado",
    "inviati",
    "posta inviata",
    "verzonden",
    "wysłane",
    "skickat",
    "sendt",
    "lähetetyt",
    "odeslané",
    "elküldött",
    "отправленные",
    "надіслані",
    "gönderilmiş postalar",
    "送信済み",
    "送信済みメール",
    "已发邮件",
    "寄件備份",
    "보낸편지함",
    "נשלח",
    "المرسل",
];

/// The addresses of the person whose mailbox this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    addresses: Vec<String>,
}

impl Owner {
    /// An owner with these addresses; the first one names the account.
    pub fn new(addresses: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut known = Vec::new();
        for address in addresses {
            let address = address.as_ref().trim().to_lowercase();
            if !address.is_empty() && !known.contains(&address) {
                known.push(address);
            }
        }
        Self { addresses: known }
    }

    /// Finds the owner in the headers of the first messages: the address that mail is delivered
    /// to, or that mail with a label of sent mail comes from. Without a clear sign, nobody.
    pub fn detect<R: Read>(mbox: Mbox<R>) -> Result<Self, MboxError> {
        let parser = MessageParser::default();
        let mut votes: HashMap<String, usize> = HashMap::new();
        for entry in mbox.take(MESSAGES_LOOKED_AT) {
            let Entry::Message(raw) = entry? else {
                continue;
            };
            let Some(message) = parser.parse_headers(&raw.bytes) else {
                continue;
            };
            let mut signs = delivered_to(&message);
            if has_sent_label(&labels(&message)) {
                signs.extend(sender(&message));
            }
            for address in signs {
                if votes.len() < MAX_CANDIDATES || votes.contains_key(&address) {
                    *votes.entry(address).or_default() += 1;
                }
            }
        }
        // The most votes; of equals the first by name, so that every run decides alike.
        let best = votes
            .into_iter()
            .max_by(|(left, votes_left), (right, votes_right)| {
                votes_left.cmp(votes_right).then_with(|| right.cmp(left))
            });
        Ok(Self::new(best.map(|(address, _)| address)))
    }

    /// The address that names the account.
    pub fn account(&self) -> Option<&str> {
        self.addresses.first().map(String::as_str)
    }

    /// Whether the address, in lower case, is the owner's.
    pub fn is(&self, address: &str) -> bool {
        self.addresses.iter().any(|own| own == address)
    }
}

/// Where a message was delivered to, by the headers that a receiving server adds.
pub(super) fn delivered_to(message: &Message<'_>) -> Vec<String> {
    [
        "Delivered-To",
        "X-Original-To",
        "Envelope-To",
        "X-Delivered-To",
    ]
    .iter()
    .filter_map(|name| header_text(message, name))
    .map(|text| text.trim_matches(['<', '>', ' ']).to_lowercase())
    .filter(|address| address.contains('@'))
    .take(1)
    .collect()
}

/// Gmail's labels, as Takeout writes them.
pub(super) fn labels(message: &Message<'_>) -> Vec<String> {
    header_text(message, "X-Gmail-Labels")
        .map(|text| {
            text.split(',')
                .map(|label| label.trim().trim_matches('"').to_owned())
                .filter(|label| !label.is_empty())
                .collect()
        })
        .unwrap_or_default()
}

/// Whether one of Gmail's labels says that the owner sent the message.
pub(super) fn has_sent_label(labels: &[String]) -> bool {
    labels
        .iter()
        .any(|label| SENT_LABELS.contains(&label.to_lowercase().as_str()))
}

/// A header that the parser has no form for, decoded as text.
pub(super) fn header_text(message: &Message<'_>, name: &str) -> Option<String> {
    let name = HeaderName::parse(name.to_owned())?;
    let values = message.header_as(name, mail_parser::HeaderForm::Text);
    match values.into_iter().next()? {
        HeaderValue::Text(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        _ => None,
    }
}

fn sender(message: &Message<'_>) -> Option<String> {
    message.from()?.first()?.address().map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEPARATOR: &str = "From ann@example.org Thu Feb  1 10:11:12 2024\n";

    fn detect(messages: &[&str]) -> Owner {
        let text: String = messages
            .iter()
            .map(|message| format!("{SEPARATOR}{message}\n\nx\n\n"))
            .collect();
        Owner::detect(Mbox::new(text.as_bytes())).unwrap()
    }

    #[test]
    fn the_owner_is_who_mail_is_delivered_to() {
        let owner = detect(&[
            "From: a@example.com\nDelivered-To: Me@Example.org",
            "From: b@example.com\nDelivered-To: list@example.org",
            "From: c@example.com\nDelivered-To: <me@example.org>",
        ]);
        assert_eq!(owner.account(), Some("me@example.org"));
    }

    #[test]
    fn the_owner_is_who_sends_the_sent_mail() {
        let owner = detect(&["From: Me <me@example.org>\nX-Gmail-Labels: Wichtig,Gesendet"]);
        assert!(owner.is("me@example.org"));
    }

    #[test]
    fn without_a_sign_there_is_no_owner() {
        assert_eq!(
            detect(&["From: a@example.com\nTo: b@example.com"]),
            Owner::default()
        );
    }

    #[test]
    fn labels_are_decoded() {
        let raw = b"X-Gmail-Labels: =?UTF-8?Q?Envoy=C3=A9s,Bo=C3=AEte?=\r\n\r\n";
        let message = MessageParser::default().parse(&raw[..]).unwrap();
        assert_eq!(labels(&message), ["Envoyés", "Boîte"]);
        assert!(has_sent_label(&labels(&message)));
    }
}
