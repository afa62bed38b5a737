//! Reading an image that somebody else made.

use super::crc32::Crc32;
use super::{Eif, HEADER, MAGIC, MAX_SECTIONS, SECTION_HEADER, SectionKind, VERSION};

/// Why a file is not an image. The fault is the file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EifError {
    /// Longer than [`Eif::MAX_BYTES`].
    #[error("longer than {} bytes", Eif::MAX_BYTES)]
    TooLong,
    /// Ends before its header says.
    #[error("the file ends early")]
    Cut,
    /// Another kind of file.
    #[error("not an enclave image")]
    Magic,
    /// Another version of the format.
    #[error("version {0} of the format; only 4 is understood")]
    Version(u16),
    /// For another processor, or with flags that nobody has defined.
    #[error("flags {0:#x}: not for x86_64")]
    Flags(u16),
    /// The header's numbers and the sections do not agree.
    #[error("section {0} is not where the header says, or not what may stand there")]
    Section(usize),
    /// The number of sections is impossible.
    #[error("{0} sections")]
    Count(u16),
    /// Fields that must be zero are not.
    #[error("unused fields are set")]
    Unused,
    /// Bytes behind the last section.
    #[error("something stands behind the last section")]
    Trailing,
    /// The checksum differs.
    #[error("the checksum is wrong: the file is damaged")]
    Checksum,
}

pub(super) fn parse(file: &[u8]) -> Result<Eif, EifError> {
    if file.len() > Eif::MAX_BYTES {
        return Err(EifError::TooLong);
    }
    let mut header = Cursor(file.get(..HEADER).ok_or(EifError::Cut)?);
    if header.take(MAGIC.len())? != MAGIC {
        return Err(EifError::Magic);
    }
    match header.u16()? {
        VERSION => {}
        other => return Err(EifError::Version(other)),
    }
    match header.u16()? {
        super::X86_64 => {}
        other => return Err(EifError::Flags(other)),
    }
    // Hints for whoever starts the enclave, of any value.
    let (_memory, _processors) = (header.u64()?, header.u64()?);
    let reserved = header.u16()?;
    let count = header.u16()?;
    if !(3..=MAX_SECTIONS as u16).contains(&count) {
        return Err(EifError::Count(count));
    }
    let offsets = header.table()?;
    let sizes = header.table()?;
    let unused = header.u32()?;
    let checksum = header.u32()?;
    let count = usize::from(count);
    let rest = offsets.iter().chain(&sizes).enumerate();
    let set = rest
        .filter(|(index, number)| index % MAX_SECTIONS >= count && **number != 0)
        .count();
    if reserved != 0 || unused != 0 || set != 0 {
        return Err(EifError::Unused);
    }
    let mut parts = Parts::default();
    let mut at = HEADER;
    for (index, (offset, size)) in offsets.iter().zip(&sizes).take(count).enumerate() {
        let wrong = EifError::Section(index);
        let mut section = Cursor(file.get(at..).ok_or(EifError::Cut)?);
        let kind = SectionKind::from_number(section.u16()?).ok_or(wrong)?;
        let flags = section.u16()?;
        let length = section.u64()?;
        if *offset != at as u64 || *size != length || flags != 0 {
            return Err(wrong);
        }
        let length = usize::try_from(length).map_err(|_| EifError::Cut)?;
        let bytes = section.take(length)?;
        parts.put(index, kind, bytes).ok_or(wrong)?;
        at += SECTION_HEADER + length;
    }
    if at != file.len() {
        return Err(EifError::Trailing);
    }
    let mut crc = Crc32::new();
    crc.update(file.get(..HEADER - 4).ok_or(EifError::Cut)?);
    crc.update(file.get(HEADER..).ok_or(EifError::Cut)?);
    if crc.value() != checksum {
        return Err(EifError::Checksum);
    }
    parts.whole().ok_or(EifError::Section(count))
}

/// Sections seen so far.
#[derive(Default)]
struct Parts<'a> {
    kernel: Option<&'a [u8]>,
    cmdline: Option<&'a str>,
    metadata: Option<&'a [u8]>,
    ramdisks: Vec<&'a [u8]>,
    signature: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    /// `None` when this kind may not stand here: what is measured has one order.
    fn put(&mut self, index: usize, kind: SectionKind, bytes: &'a [u8]) -> Option<()> {
        match (index, kind) {
            (0, SectionKind::Kernel) => self.kernel = Some(bytes),
            (1, SectionKind::Cmdline) => self.cmdline = Some(str::from_utf8(bytes).ok()?),
            (2.., SectionKind::Metadata) if self.metadata.is_none() => self.metadata = Some(bytes),
            (2.., SectionKind::Signature) if self.signature.is_none() => {
                self.signature = Some(bytes);
            }
            (2.., SectionKind::Ramdisk) => self.ramdisks.push(bytes),
            _ => return None,
        }
        Some(())
    }

    fn whole(self) -> Option<Eif> {
        if self.ramdisks.is_empty() {
            return None;
        }
        Some(Eif {
            kernel: self.kernel?.to_vec(),
            cmdline: self.cmdline?.to_owned(),
            metadata: self.metadata.unwrap_or_default().to_vec(),
            ramdisks: self.ramdisks.into_iter().map(<[u8]>::to_vec).collect(),
            signature: self.signature.map(<[u8]>::to_vec),
        })
    }
}

impl SectionKind {
    fn from_number(number: u16) -> Option<Self> {
        [
            Self::Kernel,
            Self::Cmdline,
            Self::Ramdisk,
            Self::Signature,
            Self::Metadata,
        ]
        .into_iter()
        .find(|kind| *kind as u16 == number)
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], EifError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(EifError::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EifError> {
        self.take(N)?.try_into().map_err(|_| EifError::Cut)
    }

    fn u16(&mut self) -> Result<u16, EifError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, EifError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, EifError> {
        self.array().map(u64::from_be_bytes)
    }

    fn table(&mut self) -> Result<[u64; MAX_SECTIONS], EifError> {
        let mut numbers = [0; MAX_SECTIONS];
        for number in &mut numbers {
            *number = self.u64()?;
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Eif {
        Eif {
            kernel: b"kernel".to_vec(),
            cmdline: "console=ttyS0".to_owned(),
            metadata: b"{}".to_vec(),
            ramdisks: vec![b"first".to_vec(), b"second".to_vec()],
            signature: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Eif::parse(&sample().to_bytes()), Ok(sample()));
        let signed = Eif {
            signature: Some(b"signature".to_vec()),
            ..sample()
        };
        assert_eq!(Eif::parse(&signed.to_bytes()), Ok(signed));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = sample().to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Eif::parse(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_cut_or_longer_file_is_refused() {
        let mut bytes = sample().to_bytes();
        for length in 0..bytes.len() {
            assert!(Eif::parse(&bytes[..length]).is_err(), "{length} bytes");
        }
        bytes.push(0);
        assert_eq!(Eif::parse(&bytes), Err(EifError::Trailing));
    }

    #[test]
    fn an_image_without_a_ramdisk_is_refused() {
        let nothing = Eif {
            ramdisks: Vec::new(),
            ..sample()
        };
        assert_eq!(
            Eif::parse(&nothing.to_bytes()),
            Err(EifError::Section(3)),
            "nothing could be booted"
        );
    }

    #[test]
    fn an_older_version_says_which() {
        let mut bytes = sample().to_bytes();
        bytes[5] = 3;
        assert_eq!(Eif::parse(&bytes), Err(EifError::Version(3)));
    }
}
