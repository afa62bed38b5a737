//! One DNS question and its answer, as bytes (RFC 1035 §4; AAAA: RFC 3596; padding: RFC 7830 and 8467).
//!
//! Guarantees: an answer counts only if it repeats the question; only addresses at the end of the question's own chain of
//! aliases are taken; every loop has a limit. Refuses to know: who answered, and over what.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Longest answer.
pub const MAX_MESSAGE: usize = 4096;

/// Most addresses that are kept of an answer.
pub const MAX_ADDRESSES: usize = 16;

/// Most records that are looked at.
const MAX_RECORDS: u16 = 64;

/// Longest chain of aliases.
const MAX_ALIASES: usize = 8;

/// Longest name on the wire (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

/// A question is filled up to a multiple of this (RFC 8467 §4.1), so that its length does not tell the name.
const BLOCK: usize = 128;

const HEADER: usize = 12;
const IN: u16 = 1;
const CNAME: u16 = 5;
const OPT: u16 = 41;
const PADDING: u16 = 12;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4: a record of type A.
    V4,
    /// IPv6: a record of type AAAA.
    V6,
}

impl Family {
    fn number(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }

    fn address(self, data: &[u8]) -> Option<IpAddr> {
        Some(match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?)),
            Self::V6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?)),
        })
    }
}

/// A question for the addresses of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// On the wire, in lower case.
    name: Vec<u8>,
    family: Family,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// At most [`MAX_ADDRESSES`]; perhaps none: the name exists and has none of this family.
    pub addresses: Vec<IpAddr>,
    /// How long this may be believed.
    pub lifetime: Duration,
}

/// A name did not become addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// It cannot be a name in the DNS.
    #[error("this cannot be a name of a host")]
    NotAName,
    /// There is no such name.
    #[error("there is no such name")]
    NoSuchName,
    /// The resolver says that it could not find out.
    #[error("the resolver failed")]
    Failed,
    /// The resolver answered something else than an answer to this question.
    #[error("the resolver broke the protocol")]
    Malformed,
    /// No resolver answered.
    #[error("no resolver answered")]
    Unreachable,
}

impl Question {
    /// Asks for a host's name: letters, digits, `-` and `_` in labels of 1 to 63, at least one dot.
    ///
    /// # Errors
    /// [`DnsError::NotAName`].
    pub fn new(name: &str, family: Family) -> Result<Self, DnsError> {
        let mut wire = Vec::with_capacity(name.len() + 2);
        let labels = name.strip_suffix('.').unwrap_or(name).split('.');
        let mut count = 0;
        for label in labels {
            let length = u8::try_from(label.len())
                .ok()
                .filter(|n| (1..=63).contains(n));
            let plain = label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
            wire.push(length.filter(|_| plain).ok_or(DnsError::NotAName)?);
            wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
            count += 1;
        }
        wire.push(0);
        if count < 2 || wire.len() > MAX_NAME {
            return Err(DnsError::NotAName);
        }
        Ok(Self { name: wire, family })
    }

    /// The bytes of the question, padded. Its id is 0, as RFC 8484 §4.1 has it.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(2 * BLOCK);
        let header: [u16; 6] = [0, 0x0100, 1, 0, 0, 1];
        for word in header {
            message.extend(word.to_be_bytes());
        }
        message.extend(&self.name);
        message.extend(self.family.number().to_be_bytes());
        message.extend(IN.to_be_bytes());
        // The OPT record: root name, type, size of UDP answers (means nothing here), no flags, then its data.
        message.push(0);
        message.extend(OPT.to_be_bytes());
        message.extend((MAX_MESSAGE as u16).to_be_bytes());
        message.extend([0; 4]);
        let before_padding = message.len() + 2 + 4;
        let padding = before_padding.next_multiple_of(BLOCK) - before_padding;
        // At most one block.
        let padding = padding as u16;
        message.extend((padding + 4).to_be_bytes());
        message.extend(PADDING.to_be_bytes());
        message.extend(padding.to_be_bytes());
        message.resize(before_padding + usize::from(padding), 0);
        message
    }

    /// Reads an answer to this question.
    ///
    /// # Errors
    /// [`DnsError`]: what the resolver says, or that it broke the protocol.
    pub fn read(&self, message: &[u8]) -> Result<Resolved, DnsError> {
        if message.len() > MAX_MESSAGE {
            return Err(DnsError::Malformed);
        }
        let mut reader = Reader { message, at: 0 };
        let (id, flags) = (reader.word()?, reader.word()?);
        let (questions, answers) = (reader.word()?, reader.word()?);
        reader.skip(HEADER - 8)?;
        let (response, opcode, truncated) =
            (flags >> 15 == 1, flags >> 11 & 0xf, flags >> 9 & 1 == 1);
        if id != 0 || !response || opcode != 0 || truncated || questions != 1 {
            return Err(DnsError::Malformed);
        }
        let repeated = (reader.name()?, reader.word()?, reader.word()?);
        if repeated != (self.name.clone(), self.family.number(), IN) {
            return Err(DnsError::Malformed);
        }
        match flags & 0xf {
            0 => {}
            3 => return Err(DnsError::NoSuchName),
            _ => return Err(DnsError::Failed),
        }
        if answers > MAX_RECORDS {
            return Err(DnsError::Malformed);
        }
        let records = (0..answers)
            .map(|_| reader.record())
            .collect::<Result<Vec<_>, _>>()?;
        self.follow(&records)
    }

    /// From the question's name along the aliases to the addresses. Records beside this way are nobody's answer.
    fn follow(&self, records: &[Record<'_>]) -> Result<Resolved, DnsError> {
        let mut name = &self.name;
        let mut seconds = u32::MAX;
        for _ in 0..=MAX_ALIASES {
            let alias = records.iter().find_map(|record| match &record.data {
                Data::Alias(target) if record.owner == *name => Some((target, record.seconds)),
                Data::Alias(_) | Data::Other { .. } => None,
            });
            let Some((target, lifetime)) = alias else {
                return self.addresses(name, records, seconds);
            };
            name = target;
            seconds = seconds.min(lifetime);
        }
        Err(DnsError::Malformed)
    }

    fn addresses(
        &self,
        name: &[u8],
        records: &[Record<'_>],
        mut seconds: u32,
    ) -> Result<Resolved, DnsError> {
        let mut addresses = Vec::new();
        for record in records.iter().filter(|record| record.owner == name) {
            match record.data {
                Data::Other { kind, bytes } if kind == self.family.number() => {
                    let address = self.family.address(bytes).ok_or(DnsError::Malformed)?;
                    seconds = seconds.min(record.seconds);
                    if addresses.len() < MAX_ADDRESSES {
                        addresses.push(address);
                    }
                }
                Data::Other { .. } | Data::Alias(_) => {}
            }
        }
        let seconds = if addresses.is_empty() { 0 } else { seconds };
        Ok(Resolved {
            addresses,
            lifetime: Duration::from_secs(u64::from(seconds)),
        })
    }
}

struct Record<'m> {
    owner: Vec<u8>,
    seconds: u32,
    data: Data<'m>,
}

enum Data<'m> {
    Alias(Vec<u8>),
    Other { kind: u16, bytes: &'m [u8] },
}

/// A place in a message.
struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn take(&mut self, count: usize) -> Result<&'m [u8], DnsError> {
        let bytes = self
            .message
            .get(self.at..)
            .and_then(|rest| rest.get(..count))
            .ok_or(DnsError::Malformed)?;
        self.at += count;
        Ok(bytes)
    }

    fn skip(&mut self, count: usize) -> Result<(), DnsError> {
        self.take(count).map(drop)
    }

    fn byte(&mut self) -> Result<u8, DnsError> {
        self.take(1)?.first().copied().ok_or(DnsError::Malformed)
    }

    fn word(&mut self) -> Result<u16, DnsError> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// A name, in lower case and in full. A pointer leads back to before the place where it was met, so it ends.
    fn name(&mut self) -> Result<Vec<u8>, DnsError> {
        let mut name = Vec::new();
        let mut end = None;
        let mut before = self.at;
        loop {
            let length = self.byte()?;
            match length {
                0 => break,
                1..=63 => {
                    name.push(length);
                    let label = self.take(usize::from(length))?;
                    name.extend(label.iter().map(u8::to_ascii_lowercase));
                    if name.len() >= MAX_NAME {
                        return Err(DnsError::Malformed);
                    }
                }
                0xc0..=0xff => {
                    let to = usize::from(u16::from_be_bytes([length & 0x3f, self.byte()?]));
                    end.get_or_insert(self.at);
                    if to >= before {
                        return Err(DnsError::Malformed);
                    }
                    before = to;
                    self.at = to;
                }
                64..0xc0 => return Err(DnsError::Malformed),
            }
        }
        name.push(0);
        self.at = end.unwrap_or(self.at);
        Ok(name)
    }

    fn record(&mut self) -> Result<Record<'m>, DnsError> {
        let owner = self.name()?;
        let (kind, class) = (self.word()?, self.word()?);
        let seconds = u32::from(self.word()?) << 16 | u32::from(self.word()?);
        // RFC 2181 §8: with the highest bit set, it is no time.
        let seconds = if seconds >> 31 == 0 { seconds } else { 0 };
        let length = usize::from(self.word()?);
        let start = self.at;
        let bytes = self.take(length)?;
        let data = match (class, kind) {
            (IN, CNAME) => {
                self.at = start;
                let target = self.name()?;
                if self.at != start + length {
                    return Err(DnsError::Malformed);
                }
                Data::Alias(target)
            }
            (IN, kind) => Data::Other { kind, bytes },
            // Of another class: of no interest, whatever it is.
            (_, _) => Data::Other { kind: 0, bytes },
        };
        Ok(Record {
            owner,
            seconds,
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question::new("Node1.Example.com", Family::V4).unwrap()
    }

    /// Header and question as a resolver repeats them.
    fn answer(question: &Question, flags: u16, answers: u16) -> Vec<u8> {
        let mut message = Vec::new();
        for word in [0, flags, 1, answers, 0, 0] {
            message.extend(word.to_be_bytes());
        }
        message.extend(&question.name);
        message.extend(question.family.number().to_be_bytes());
        message.extend(IN.to_be_bytes());
        message
    }

    fn record(owner: &[u8], kind: u16, seconds: u32, data: &[u8]) -> Vec<u8> {
        let mut record = owner.to_vec();
        record.extend(kind.to_be_bytes());
        record.extend(IN.to_be_bytes());
        record.extend(seconds.to_be_bytes());
        record.extend((data.len() as u16).to_be_bytes());
        record.extend(data);
        record
    }

    const TO_QUESTION: &[u8] = &[0xc0, HEADER as u8];
    const OK: u16 = 0x8180;

    #[test]
    fn a_question_is_a_standard_message_of_a_length_that_tells_little() {
        let message = question().message();
        assert_eq!(message.len(), BLOCK);
        let head = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        assert_eq!(message[..HEADER], head);
        let name = b"\x05node1\x07example\x03com\0\0\x01\0\x01";
        assert_eq!(&message[HEADER..HEADER + name.len()], name);
        let long = format!("{}.{}.example", "a".repeat(63), "b".repeat(63));
        let long = Question::new(&long, Family::V6).unwrap().message();
        assert_eq!(long.len(), 2 * BLOCK);
    }

    #[test]
    fn names_that_are_none_are_not_asked_for() {
        for name in [
            "",
            ".",
            "localhost",
            "a..b",
            ".a.b",
            "a b.example",
            "ä.example",
            "a.b\0",
        ] {
            assert_eq!(
                Question::new(name, Family::V4),
                Err(DnsError::NotAName),
                "{name}"
            );
        }
        let label = format!("{}.example", "a".repeat(64));
        assert!(Question::new(&label, Family::V4).is_err());
        let name = vec!["a".repeat(50); 6].join(".");
        assert!(Question::new(&name, Family::V4).is_err());
    }

    #[test]
    fn addresses_come_out_with_the_shortest_lifetime() {
        let mut message = answer(&question(), OK, 2);
        message.extend(record(TO_QUESTION, 1, 300, &[1, 2, 3, 4]));
        message.extend(record(TO_QUESTION, 1, 60, &[5, 6, 7, 8]));
        let resolved = question().read(&message).unwrap();
        let expected: [IpAddr; 2] = [[1, 2, 3, 4].into(), [5, 6, 7, 8].into()];
        assert_eq!(resolved.addresses, expected);
        assert_eq!(resolved.lifetime, Duration::from_secs(60));
    }

    #[test]
    fn addresses_of_the_other_family_are_no_answer() {
        let v6 = Question::new("node1.example.com", Family::V6).unwrap();
        let mut message = answer(&v6, OK, 2);
        let ip: Ipv6Addr = "2606:4700::1111".parse().unwrap();
        message.extend(record(TO_QUESTION, 28, 60, &ip.octets()));
        message.extend(record(TO_QUESTION, 1, 60, &[1, 2, 3, 4]));
        let resolved = v6.read(&message).unwrap();
        assert_eq!(resolved.addresses, [IpAddr::V6(ip)]);
    }

    #[test]
    fn aliases_are_followed_and_what_stands_beside_the_way_is_not_taken() {
        let mut message = answer(&question(), OK, 4);
        message.extend(record(TO_QUESTION, CNAME, 30, b"\x03cdn\x03net\0"));
        message.extend(record(b"\x03CDN\x03net\0", 1, 300, &[9, 9, 9, 9]));
        // Poison: an address for a name that nobody asked for, and one of another kind.
        message.extend(record(b"\x05other\x03net\0", 1, 300, &[6, 6, 6, 6]));
        message.extend(record(b"\x03cdn\x03net\0", 16, 300, &[6, 6, 6, 6]));
        let resolved = question().read(&message).unwrap();
        assert_eq!(resolved.addresses, [IpAddr::from([9, 9, 9, 9])]);
        assert_eq!(resolved.lifetime, Duration::from_secs(30));
    }

    #[test]
    fn a_name_without_addresses_and_no_name_are_told_apart() {
        assert_eq!(
            question().read(&answer(&question(), OK, 0)),
            Ok(Resolved {
                addresses: Vec::new(),
                lifetime: Duration::ZERO
            })
        );
        let read = |flags| question().read(&answer(&question(), flags, 0));
        assert_eq!(read(0x8183), Err(DnsError::NoSuchName));
        assert_eq!(read(0x8182), Err(DnsError::Failed));
    }

    #[test]
    fn an_answer_to_something_else_is_refused() {
        let other = Question::new("node2.example.com", Family::V4).unwrap();
        let v6 = Question::new("node1.example.com", Family::V6).unwrap();
        let good = answer(&question(), OK, 0);
        assert!(question().read(&good).is_ok());
        for bad in [
            answer(&other, OK, 0),
            answer(&v6, OK, 0),
            answer(&question(), 0x0180, 0), // a question
            answer(&question(), 0x8380, 0), // truncated
            answer(&question(), 0x9180, 0), // another operation
            answer(&question(), OK, 1),     // a record that is not there
            answer(&question(), OK, MAX_RECORDS + 1),
            [vec![0, 1], good[2..].to_vec()].concat(), // another id
            good[..good.len() - 1].to_vec(),
            Vec::new(),
        ] {
            assert_eq!(question().read(&bad), Err(DnsError::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn loops_and_lies_about_lengths_end() {
        // An alias of itself.
        let mut circle = answer(&question(), OK, 1);
        circle.extend(record(TO_QUESTION, CNAME, 30, TO_QUESTION));
        assert_eq!(question().read(&circle), Err(DnsError::Malformed));
        // A pointer to itself, and one forward.
        for to in [0x23_u8, 0xff] {
            let mut message = answer(&question(), OK, 1);
            message.extend(record(&[0xc0, to], 1, 30, &[1, 2, 3, 4]));
            assert_eq!(question().read(&message), Err(DnsError::Malformed));
        }
        // An address of three bytes; an alias that is longer than its record.
        for (kind, data) in [(1, [1_u8, 2, 3].as_slice()), (CNAME, b"\x03net\0\0")] {
            let mut message = answer(&question(), OK, 1);
            message.extend(record(TO_QUESTION, kind, 30, data));
            assert_eq!(question().read(&message), Err(DnsError::Malformed));
        }
        // Too long altogether.
        let mut long = answer(&question(), OK, 0);
        long.resize(MAX_MESSAGE + 1, 0);
        assert_eq!(question().read(&long), Err(DnsError::Malformed));
    }

    #[test]
    fn of_many_addresses_a_few_are_kept() {
        let mut message = answer(&question(), OK, MAX_RECORDS);
        for last in 0..MAX_RECORDS as u8 {
            message.extend(record(TO_QUESTION, 1, 1 << 31, &[1, 2, 3, last]));
        }
        let resolved = question().read(&message).unwrap();
        assert_eq!(resolved.addresses.len(), MAX_ADDRESSES);
        assert_eq!(resolved.lifetime, Duration::ZERO);
    }
}
