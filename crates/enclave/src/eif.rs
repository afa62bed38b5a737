//! The file that a Nitro enclave is started from (Enclave Image Format, version 4), without I/O.
//!
//! Guarantees: [`Eif::to_bytes`] writes what AWS's own builder writes for the same parts, byte for byte
//! (`tests/aws_vector.rs`); [`Eif::parse`] takes nothing that is damaged, cut, padded or out of order. Refuses to know:
//! signatures of images (PCR8). Everything that this project promises is in PCR0, 1 and 2.
//!
//! Layout: a header of 548 bytes, then sections of 12 bytes of header and their bytes, without gaps. Numbers are
//! big-endian. The checksum in the header covers everything but itself.

mod crc32;
mod reader;

pub use reader::EifError;

use crc32::Crc32;

/// An image's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eif {
    /// The kernel, a `bzImage`.
    pub kernel: Vec<u8>,
    /// The kernel's command line. The hypervisor appends the addresses of its devices.
    pub cmdline: String,
    /// JSON about how the image came to be. Not measured: never believe it.
    pub metadata: Vec<u8>,
    /// Archives that the kernel unpacks one over the other: the boot's first, the application's behind it.
    pub ramdisks: Vec<Vec<u8>>,
    /// What a signature section holds, if the image is signed.
    pub signature: Option<Vec<u8>>,
}

impl Eif {
    /// Longest file that is read. Images of others are hundreds of megabytes; ours is held to
    /// [`MAX_BYTES`](crate::image::MAX_BYTES).
    pub const MAX_BYTES: usize = 1 << 29;

    /// The file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let sections = self.sections();
        let mut out = Vec::with_capacity(HEADER + self.measured_bytes() + 4096);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&X86_64.to_be_bytes());
        out.extend_from_slice(&DEFAULT_MEMORY.to_be_bytes());
        out.extend_from_slice(&DEFAULT_PROCESSORS.to_be_bytes());
        out.extend_from_slice(&0_u16.to_be_bytes());
        out.extend_from_slice(&(sections.len() as u16).to_be_bytes());
        let mut offset = HEADER;
        let offsets = sections.iter().map(|(_, bytes)| {
            let here = offset;
            offset += SECTION_HEADER + bytes.len();
            here as u64
        });
        table(&mut out, offsets);
        table(
            &mut out,
            sections.iter().map(|(_, bytes)| bytes.len() as u64),
        );
        out.extend_from_slice(&0_u32.to_be_bytes());
        let checksum_at = out.len();
        let mut crc = Crc32::new();
        crc.update(&out);
        for (kind, bytes) in &sections {
            let mut header = Vec::with_capacity(SECTION_HEADER);
            header.extend_from_slice(&(*kind as u16).to_be_bytes());
            header.extend_from_slice(&0_u16.to_be_bytes());
            header.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            crc.update(&header);
            crc.update(bytes);
        }
        out.extend_from_slice(&crc.value().to_be_bytes());
        debug_assert_eq!(checksum_at + 4, HEADER);
        for (kind, bytes) in &sections {
            out.extend_from_slice(&(*kind as u16).to_be_bytes());
            out.extend_from_slice(&0_u16.to_be_bytes());
            out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            out.extend_from_slice(bytes);
        }
        out
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`EifError`] when it is not exactly one image of version 4.
    pub fn parse(file: &[u8]) -> Result<Self, EifError> {
        reader::parse(file)
    }

    /// The order that AWS's builder writes.
    fn sections(&self) -> Vec<(SectionKind, &[u8])> {
        let mut sections = vec![
            (SectionKind::Kernel, &*self.kernel),
            (SectionKind::Cmdline, self.cmdline.as_bytes()),
            (SectionKind::Metadata, &*self.metadata),
        ];
        sections.extend(
            self.ramdisks
                .iter()
                .map(|disk| (SectionKind::Ramdisk, &**disk)),
        );
        sections.extend(
            self.signature
                .iter()
                .map(|bytes| (SectionKind::Signature, &**bytes)),
        );
        sections
    }

    fn measured_bytes(&self) -> usize {
        let disks: usize = self.ramdisks.iter().map(Vec::len).sum();
        self.kernel.len() + self.cmdline.len() + disks
    }
}

/// 32 numbers, unused ones zero.
fn table(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>) {
    let rest = std::iter::repeat(0);
    for number in numbers.chain(rest).take(MAX_SECTIONS) {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
enum SectionKind {
    Kernel = 1,
    Cmdline = 2,
    Ramdisk = 3,
    Signature = 4,
    Metadata = 5,
}

const MAGIC: &[u8] = b".eif";
const VERSION: u16 = 4;
/// The flags of an image for this processor; bit 0 would say arm64.
const X86_64: u16 = 0;
/// What AWS's builder writes; whoever starts an enclave says how much it gets.
const DEFAULT_MEMORY: u64 = 1 << 30;
const DEFAULT_PROCESSORS: u64 = 2;
const MAX_SECTIONS: usize = 32;
const HEADER: usize = 4 + 2 + 2 + 8 + 8 + 2 + 2 + 2 * 8 * MAX_SECTIONS + 4 + 4;
const SECTION_HEADER: usize = 2 + 2 + 8;
