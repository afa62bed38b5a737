//! The checksum of zip files and Ethernet (CRC-32/ISO-HDLC). It notices accidents, not attackers.

pub(super) struct Crc32(u32);

impl Crc32 {
    pub(super) fn new() -> Self {
        Self(u32::MAX)
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let index = (self.0 ^ u32::from(*byte)) & 0xFF;
            // The index is below 256 whatever it was before.
            let step = TABLE.get(index as usize).copied().unwrap_or_default();
            self.0 = (self.0 >> 8) ^ step;
        }
    }

    pub(super) fn value(&self) -> u32 {
        !self.0
    }
}

const TABLE: [u32; 256] = table();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which would refuse a wrong index"
)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = match value & 1 {
                1 => (value >> 1) ^ 0xEDB8_8320,
                _ => value >> 1,
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        let mut crc = Crc32::new();
        crc.update(b"1234");
        crc.update(b"56789");
        assert_eq!(crc.value(), 0xCBF4_3926);
    }
}
