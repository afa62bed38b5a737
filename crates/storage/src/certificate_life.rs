//! From when until when a certificate counts (RFC 5280, §4.1.2.5): all that this node wants to know of one.
//!
//! Guarantees: reads any bytes without failing otherwise than by None, and looks at none twice. Refuses to know: who made the
//! certificate and for whom; rustls judges that.

use std::time::SystemTime;

use time::{Date, Month, PrimitiveDateTime, Time};

const SEQUENCE: u8 = 0x30;
/// `[0]`, the version of a certificate.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The life of a certificate, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateLife {
    /// Its first second, `notBefore`.
    pub begins: u64,
    /// Its last, `notAfter`.
    pub ends: u64,
}

impl CertificateLife {
    /// Reads it from a certificate in DER. None: there is none, or it ends before it begins.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (inner, _) = expect(certificate, SEQUENCE)?;
        let (mut to_be_signed, _) = expect(inner, SEQUENCE)?;
        if let Some((_version, rest)) = expect(to_be_signed, VERSION) {
            to_be_signed = rest;
        }
        // Serial number, algorithm, issuer.
        for _ in 0..3 {
            to_be_signed = element(to_be_signed)?.2;
        }
        let (validity, _) = expect(to_be_signed, SEQUENCE)?;
        let (begins, rest) = moment(validity)?;
        let (ends, _) = moment(rest)?;
        (begins <= ends).then_some(Self { begins, ends })
    }

    /// How long it is.
    pub(crate) fn seconds(self) -> u64 {
        self.ends - self.begins
    }
}

/// An element: its tag, its content, and what comes after it. Lengths of up to four bytes: a certificate is no gigabytes.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = length.iter().fold(0, |n: u32, &b| (n << 8) | u32::from(b));
            (usize::try_from(length).ok()?, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// `YYMMDDHHMMSSZ` of 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn moment(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (tag, text, rest) = element(bytes)?;
    let (year, text) = match tag {
        UTC_TIME => {
            let (year, text) = digits(text)?;
            let century = if year < 50 { 2000 } else { 1900 };
            (century + i32::from(year), text)
        }
        GENERALIZED_TIME => {
            let (century, text) = digits(text)?;
            let (year, text) = digits(text)?;
            (i32::from(century) * 100 + i32::from(year), text)
        }
        _ => return None,
    };
    let (month, text) = digits(text)?;
    let (day, text) = digits(text)?;
    let (hour, text) = digits(text)?;
    let (minute, text) = digits(text)?;
    let (second, text) = digits(text)?;
    if text != b"Z" {
        return None;
    }
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    let time = Time::from_hms(hour, minute, second).ok()?;
    let moment = SystemTime::from(PrimitiveDateTime::new(date, time).assume_utc());
    let since = moment.duration_since(SystemTime::UNIX_EPOCH);
    // Before 1970 is as good as 1970.
    Some((since.map_or(0, |since| since.as_secs()), rest))
}

fn digits(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&[tens, ones], rest) = text.split_first_chunk::<2>()?;
    let both = tens.is_ascii_digit() && ones.is_ascii_digit();
    both.then(|| ((tens - b'0') * 10 + (ones - b'0'), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(begins: (i32, u8, u8), ends: (i32, u8, u8)) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(begins.0, begins.1, begins.2);
        params.not_after = rcgen::date_time_ymd(ends.0, ends.1, ends.2);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_life_of_a_certificate_is_read_in_either_notation() {
        let short = made((2026, 11, 23), (2027, 2, 21));
        let life = CertificateLife::of(&short).unwrap();
        assert_eq!(life.begins, 1_795_392_000);
        assert_eq!(life.seconds(), 90 * 86_400);
        // From 2050 on, and before 1970.
        let long = CertificateLife::of(&made((1960, 1, 1), (2060, 1, 1))).unwrap();
        assert_eq!((long.begins, long.ends), (0, 2_840_140_800));
        assert_eq!(CertificateLife::of(&made((2027, 1, 1), (2026, 1, 1))), None);
    }

    #[test]
    fn a_moment_that_is_none_is_refused() {
        for text in [
            "261123000000Z",
            "991231235959Z",
            "261123000000",
            "261123000000+0000",
            "261323000000Z",
            "261123250000Z",
            "\0\0\0\0\0\0\0\0\0\0\0\0Z",
            "26112300000:Z",
            "",
        ] {
            let length = u8::try_from(text.len()).unwrap();
            let bytes = [&[UTC_TIME, length], text.as_bytes()].concat();
            let right = ["261123000000Z", "991231235959Z"].contains(&text);
            assert_eq!(moment(&bytes).is_some(), right, "{text:?}");
        }
    }

    #[test]
    fn a_certificate_that_is_cut_anywhere_before_its_end_has_no_life() {
        let whole = made((2026, 11, 23), (2027, 2, 21));
        for length in 0..whole.len() {
            assert_eq!(CertificateLife::of(&whole[..length]), None, "{length}");
        }
    }
}
