//! Bits of compressed data.

use super::huffman::{Entry, Huffman, signed};

/// Reads the bits between two markers.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next bits, from the top. Those beyond `available` are unspecified.
    window: u64,
    available: u32,
}

/// The compressed data is cut or holds no valid code.
#[derive(Debug)]
pub(super) struct Damaged;

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            window: 0,
            available: 0,
        }
    }

    /// Sees to it that a code and its number, at most 31 bits, can be taken, if there are so many
    /// before the next marker.
    #[inline(always)]
    fn fill(&mut self) {
        if self.available >= 32 {
            return;
        }
        // Eight bytes at once where none of them is special. Bits beyond the last whole byte are
        // read again later, to the same place.
        if let Some((next, _)) = self.bytes.split_first_chunk::<8>() {
            let next = u64::from_be_bytes(*next);
            let has_ff = next & !next.wrapping_add(0x0101_0101_0101_0101) & 0x8080_8080_8080_8080;
            if has_ff == 0 {
                let count = (64 - self.available) / 8;
                self.window |= next >> self.available;
                self.available += 8 * count;
                self.bytes = &self.bytes[count as usize..];
                return;
            }
        }
        *self = self.filled_by_bytes();
    }

    /// Like `fill`, for any bytes. By value, so that the reader of a loop can live in registers.
    #[inline(never)]
    fn filled_by_bytes(mut self) -> Self {
        // Bits beyond the available ones may not be those of a marker.
        self.window &= !(u64::MAX >> self.available);
        while self.available <= 56 {
            let (byte, rest) = match *self.bytes {
                [0xff, 0x00, ref rest @ ..] => (0xff, rest),
                [0xff, ..] | [] => break,
                [byte, ref rest @ ..] => (byte, rest),
            };
            self.bytes = rest;
            self.window |= u64::from(byte) << (56 - self.available);
            self.available += 8;
        }
        self
    }

    #[inline(always)]
    fn consume(&mut self, count: u32) -> Result<(), Damaged> {
        if count > self.available {
            return Err(Damaged);
        }
        self.window <<= count;
        self.available -= count;
        Ok(())
    }

    /// The next `count` bits, at most 16, as a number.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> Result<i32, Damaged> {
        if count == 0 {
            return Ok(0);
        }
        self.fill();
        let value = (self.window >> (64 - count)) as i32;
        self.consume(count)?;
        Ok(value)
    }

    /// The next symbol and the signed number after it, whose size in bits is the symbol's lower half;
    /// 0 for a size of 0.
    #[inline(always)]
    pub(super) fn symbol_and_value(&mut self, codes: &Huffman) -> Result<(u8, i32), Damaged> {
        self.fill();
        let entry = codes.entry(self.window);
        let whole = entry.whole_len();
        if whole == 0 {
            return self.long_value(codes, entry);
        }
        self.consume(whole)?;
        Ok((entry.symbol(), entry.value()))
    }

    #[inline]
    fn long_value(&mut self, codes: &Huffman, entry: Entry) -> Result<(u8, i32), Damaged> {
        let (len, symbol) = match entry.code_len() {
            0 => codes.long_code(self.window).ok_or(Damaged)?,
            len => (len, entry.symbol()),
        };
        self.consume(len)?;
        let size = u32::from(symbol & 15);
        // Two shifts, as there may be no bit to take.
        let bits = (self.window >> 1 >> (63 - size)) as i32;
        self.consume(size)?;
        Ok((symbol, signed(bits, size)))
    }

    /// Drops the bits up to the next marker and gives the bytes from there.
    pub(super) fn into_rest(self) -> &'a [u8] {
        let marker = |pair: &[u8; 2]| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff);
        let at = self
            .bytes
            .array_windows()
            .position(marker)
            .unwrap_or(self.bytes.len());
        &self.bytes[at..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuffed_bytes_are_read_and_markers_are_not() {
        let mut bits = Bits::new(&[0xff, 0x00, 0x5a, 0xff, 0xd0, 1]);
        assert_eq!(bits.take(12).unwrap(), 0xff5);
        assert!(bits.take(5).is_err());
        assert_eq!(bits.take(4).unwrap(), 0xa);
        assert_eq!(bits.into_rest(), [0xff, 0xd0, 1]);
    }

    #[test]
    fn words_and_bytes_give_the_same_bits() {
        // Runs of plain bytes of every length between stuffed ones.
        let (mut bytes, mut plain) = (Vec::new(), Vec::new());
        for len in 0..20u8 {
            for i in 0..len {
                bytes.push(i.wrapping_mul(37) ^ len);
                plain.push(i.wrapping_mul(37) ^ len);
            }
            bytes.extend([0xff, 0x00]);
            plain.push(0xff);
        }
        let bit = |i: usize| i32::from(plain[i / 8] >> (7 - i % 8) & 1);
        let mut bits = Bits::new(&bytes);
        let (mut at, mut count) = (0, 1);
        while at + count <= plain.len() * 8 {
            let expected = (at..at + count).fold(0, |sum, i| sum << 1 | bit(i));
            assert_eq!(bits.take(count as u32).unwrap(), expected, "{at}");
            at += count;
            count = count % 16 + 1;
        }
        assert!(bits.take(16).is_err());
    }

    #[test]
    fn codes_short_and_long_give_their_symbols() {
        // Codes 0, 10, 1100, and one of 12 bits: 1101 0000 0000; all without numbers.
        let mut counts = [0; 16];
        (counts[0], counts[1], counts[3], counts[11]) = (1, 1, 1, 1);
        let codes = Huffman::new(&counts, &[0x70, 0x80, 0x90, 0xa0]).unwrap();
        let mut bits = Bits::new(&[0b0101_1001, 0b1010_0000, 0b0001_1111, 0xfe, 0xfe, 0xfe]);
        let symbols: Vec<_> = (0..4)
            .map(|_| bits.symbol_and_value(&codes).unwrap())
            .collect();
        assert_eq!(symbols, [(0x70, 0), (0x80, 0), (0x90, 0), (0xa0, 0)]);
        assert!(bits.symbol_and_value(&codes).is_err());
    }

    #[test]
    fn numbers_short_and_long_follow_their_symbols() {
        // Codes 0 for 3 bits and 10 for 15 bits.
        let mut counts = [0; 16];
        (counts[0], counts[1]) = (1, 1);
        let codes = Huffman::new(&counts, &[0x23, 0x0f]).unwrap();
        let mut bits = Bits::new(&[0b0110_1000, 0b0000_0000, 0b0001_0000, 0b1011_1111]);
        let mut next = || bits.symbol_and_value(&codes);
        assert_eq!(next().unwrap(), (0x23, 6));
        assert_eq!(next().unwrap(), (0x0f, -32_767 + 2));
        assert_eq!(next().unwrap(), (0x23, -6));
        assert_eq!(next().unwrap(), (0x23, 7));
        assert!(next().is_err());
    }
}
