//! Bits of compressed data and Huffman codes.

/// Codes up to this length are looked up at once.
const FAST_BITS: u32 = 9;

/// A table of Huffman codes.
pub(super) struct Huffman {
    /// Length and symbol of the code that begins with these bits; length 0 for longer codes.
    fast: Vec<(u8, u8)>,
    /// By length: the first code beyond this length's codes, and what to add to a code to get the
    /// place of its symbol.
    ends: [i32; 17],
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// The table with so many codes of each length 1 to 16 and these symbols; `None` when there
    /// are more codes than a length has.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut fast = vec![(0, 0); 1 << FAST_BITS];
        let (mut ends, mut offsets) = ([0; 17], [0; 17]);
        let (mut code, mut place) = (0i32, 0i32);
        for len in 1..=16 {
            offsets[len] = place - code;
            for _ in 0..counts[len - 1] {
                let symbol = *symbols.get(place as usize)?;
                if code >= 1 << len {
                    return None;
                }
                if len as u32 <= FAST_BITS {
                    let spare = FAST_BITS - len as u32;
                    let first = (code as usize) << spare;
                    fast.get_mut(first..first + (1 << spare))?
                        .fill((len as u8, symbol));
                }
                code += 1;
                place += 1;
            }
            ends[len] = code;
            code <<= 1;
        }
        Some(Self {
            fast,
            ends,
            offsets,
            symbols: symbols.to_vec(),
        })
    }
}

/// Reads the bits between two markers.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next bits, from the top.
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

    /// Fills the window up to the next marker. Beyond it there are zeros, which cannot be consumed.
    #[inline]
    fn fill(&mut self) {
        // Eight bytes at once where none of them is special.
        if let Some(next) = self.bytes.first_chunk::<8>() {
            let next = u64::from_be_bytes(*next);
            let has_ff = next & !next.wrapping_add(0x0101_0101_0101_0101) & 0x8080_8080_8080_8080;
            if has_ff == 0 {
                let count = (64 - self.available) / 8;
                self.window |= next >> self.available;
                self.available += 8 * count;
                self.bytes = &self.bytes[count as usize..];
                // Bits beyond the whole bytes are read again.
                self.window &= u64::MAX << (64 - self.available);
                return;
            }
        }
        while self.available <= 56 {
            let (byte, rest) = match *self.bytes {
                [0xff, 0x00, ref rest @ ..] => (0xff, rest),
                [0xff, ..] | [] => return,
                [byte, ref rest @ ..] => (byte, rest),
            };
            self.bytes = rest;
            self.window |= u64::from(byte) << (56 - self.available);
            self.available += 8;
        }
    }

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
        if self.available < 16 {
            self.fill();
        }
        let value = (self.window >> (64 - count)) as i32;
        self.consume(count)?;
        Ok(value)
    }

    /// The next `count` bits as a signed number: the lower half of the values is negative.
    #[inline]
    pub(super) fn take_signed(&mut self, count: u32) -> Result<i32, Damaged> {
        let value = self.take(count)?;
        let half = 1 << count >> 1;
        Ok(if value < half {
            value - (1 << count) + 1
        } else {
            value
        })
    }

    /// The next symbol.
    #[inline]
    pub(super) fn symbol(&mut self, codes: &Huffman) -> Result<u8, Damaged> {
        if self.available < 16 {
            self.fill();
        }
        let (len, symbol) = codes.fast[(self.window >> (64 - FAST_BITS)) as usize];
        if len > 0 {
            self.consume(u32::from(len))?;
            return Ok(symbol);
        }
        for len in FAST_BITS as usize + 1..=16 {
            let code = (self.window >> (64 - len)) as i32;
            if code < codes.ends[len] {
                self.consume(len as u32)?;
                let place = usize::try_from(code + codes.offsets[len]).map_err(|_| Damaged)?;
                return codes.symbols.get(place).copied().ok_or(Damaged);
            }
        }
        Err(Damaged)
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
    fn signs_follow_the_first_bit() {
        let mut bits = Bits::new(&[0b0000_1100, 0b1110_0000]);
        let values: Vec<i32> = (0..4).map(|_| bits.take_signed(3).unwrap()).collect();
        assert_eq!(values, [-7, -4, -6, 6]);
    }

    #[test]
    fn codes_short_and_long_give_their_symbols() {
        // Codes 0, 10, 1100, and one of 12 bits: 1101 0000 0000.
        let mut counts = [0; 16];
        counts[0] = 1;
        counts[1] = 1;
        counts[3] = 1;
        counts[11] = 1;
        let codes = Huffman::new(&counts, &[7, 8, 9, 10]).unwrap();
        let mut bits = Bits::new(&[0b0101_1001, 0b1010_0000, 0b0001_1111, 0xfe, 0xfe, 0xfe]);
        let symbols: Vec<u8> = (0..4).map(|_| bits.symbol(&codes).unwrap()).collect();
        assert_eq!(symbols, [7, 8, 9, 10]);
        assert!(bits.symbol(&codes).is_err());
        counts[0] = 3;
        assert!(Huffman::new(&counts, &[0; 6]).is_none());
    }
}
