//! What a signature covers, and the text that is signed: RFC 9421 sections 2.2 to 2.5.

use std::fmt::Write as _;

use sfv::{BareItem, Dictionary, FieldType as _, InnerList, Item, Key, ListEntry, Parameters};

/// The tag of our signatures (RFC 9421 section 2.3): the application that they are for.
pub(super) const TAG: &str = "adyton";

/// The algorithm of our signatures (RFC 9421 section 3.3.6).
pub(super) const ALGORITHM: &str = "ed25519";

/// A part of an answer, or of the request that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Component {
    Status,
    ContentDigest,
    /// The digest of a body that is known only when it has been sent.
    ContentDigestTrailer,
    ContentType,
    Method,
    TargetUri,
    RequestDigest,
}

impl Component {
    pub(super) const ALL: [Self; 7] = [
        Self::Status,
        Self::ContentDigest,
        Self::ContentDigestTrailer,
        Self::ContentType,
        Self::Method,
        Self::TargetUri,
        Self::RequestDigest,
    ];

    /// Its name and its one parameter.
    fn identifier(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Status => ("@status", None),
            Self::ContentDigest => ("content-digest", None),
            Self::ContentDigestTrailer => ("content-digest", Some("tr")),
            Self::ContentType => ("content-type", None),
            Self::Method => ("@method", Some("req")),
            Self::TargetUri => ("@target-uri", Some("req")),
            Self::RequestDigest => ("content-digest", Some("req")),
        }
    }

    /// As it is listed in a signature's parameters.
    fn item(self) -> Option<Item> {
        let (name, parameter) = self.identifier();
        let mut item = Item::new(BareItem::String(text(name)?));
        if let Some(parameter) = parameter {
            let key = Key::from_string(parameter.to_owned()).ok()?;
            item.params.insert(key, BareItem::Boolean(true));
        }
        Some(item)
    }

    /// Reads it back; a component that we do not sign, or a parameter more, is none.
    pub(super) fn of(item: &Item) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|component| component.item().as_ref() == Some(item))
    }
}

/// One covered component with its value.
#[derive(Clone, Debug)]
pub(super) struct Covered<'a> {
    pub(super) component: Component,
    pub(super) value: &'a str,
}

/// A signature's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignatureParameters<'a> {
    pub(super) created: i64,
    pub(super) key_id: &'a str,
    pub(super) nonce: Option<&'a str>,
}

/// The value of `@signature-params` and of a member of `Signature-Input`, without its label.
///
/// None only for values that no structured field can hold.
pub(super) fn input(
    covered: &[Covered<'_>],
    parameters: &SignatureParameters<'_>,
) -> Option<InnerList> {
    let items: Option<Vec<_>> = covered.iter().map(|part| part.component.item()).collect();
    let mut params = Parameters::new();
    let mut add = |name: &str, value| {
        let key = Key::from_string(name.to_owned()).ok()?;
        params.insert(key, value);
        Some(())
    };
    add(
        "created",
        BareItem::Integer(parameters.created.try_into().ok()?),
    )?;
    add("keyid", BareItem::String(text(parameters.key_id)?))?;
    add("alg", BareItem::String(text(ALGORITHM)?))?;
    if let Some(nonce) = parameters.nonce {
        add("nonce", BareItem::String(text(nonce)?))?;
    }
    add("tag", BareItem::String(text(TAG)?))?;
    Some(InnerList::with_params(items?, params))
}

/// An inner list as it stands in a field, RFC 9651 section 4.1.1.1.
pub(super) fn serialized(list: InnerList) -> Option<String> {
    const LABEL: &str = "s";
    let key = Key::from_string(LABEL.to_owned()).ok()?;
    let mut dictionary = Dictionary::new();
    dictionary.insert(key, ListEntry::InnerList(list));
    let field = dictionary.serialize()?;
    field
        .strip_prefix(LABEL)
        .and_then(|rest| rest.strip_prefix('='))
        .map(str::to_owned)
}

/// The text that is signed (RFC 9421 section 2.5): a line for each component, then the parameters.
pub(super) fn base(covered: &[Covered<'_>], input: &str) -> String {
    let mut base = String::new();
    for Covered { component, value } in covered {
        let (name, parameter) = component.identifier();
        let parameter = parameter.map(|name| format!(";{name}")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(base, "\"{name}\"{parameter}: {value}");
    }
    base.push_str("\"@signature-params\": ");
    base.push_str(input);
    base
}

pub(super) fn text(text: &str) -> Option<sfv::String> {
    sfv::String::from_string(text.to_owned()).ok()
}
