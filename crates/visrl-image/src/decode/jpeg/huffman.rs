//! Huffman codes, looked up together with the numbers that follow them.

/// Codes up to this length are looked up at once.
const FAST_BITS: u32 = 10;

/// A table of Huffman codes.
pub(super) struct Huffman {
    /// What the next bits begin with.
    fast: Box<[Entry; 1 << FAST_BITS]>,
    /// By length: the first code beyond this length's codes, and what to add to a code to get the
    /// place of its symbol.
    ends: [i32; 17],
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

/// A symbol and, where both lie within [`FAST_BITS`], the signed number that follows it. A symbol's
/// lower half is the number's size in bits.
///
/// From the lowest bits: the length of code and number (0 if they are longer), the symbol, and the
/// number, or in its place the length of the code (0 if this is longer, too).
#[derive(Clone, Copy)]
pub(super) struct Entry(u32);

impl Entry {
    fn new(symbol: u8, len: u32, next: u32) -> Self {
        let size = u32::from(symbol & 15);
        let whole = len + size;
        let (value, whole) = if whole <= FAST_BITS {
            let bits = next >> (FAST_BITS - whole) & ((1 << size) - 1);
            (signed(bits as i32, size) as u32, whole)
        } else {
            (len, 0)
        };
        Self(value << 16 | u32::from(symbol) << 8 | whole)
    }

    pub(super) fn symbol(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The length of the code and of its number, 0 if the latter is not known.
    pub(super) fn whole_len(self) -> u32 {
        self.0 & 63
    }

    /// The number, if it is known.
    pub(super) fn value(self) -> i32 {
        self.0 as i32 >> 16
    }

    /// The length of a code whose number is not known, 0 if that is not known either.
    pub(super) fn code_len(self) -> u32 {
        self.0 >> 16
    }
}

/// The signed number that `size` bits stand for: the lower half of the values is negative.
#[inline]
pub(super) fn signed(bits: i32, size: u32) -> i32 {
    if bits < 1 << size >> 1 {
        bits - (1 << size) + 1
    } else {
        bits
    }
}

impl Huffman {
    /// The table with so many codes of each length 1 to 16 and these symbols; `None` when there
    /// are more codes than a length has.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut fast = Box::new([Entry(0); 1 << FAST_BITS]);
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
                    let entries = fast.get_mut(first..first + (1 << spare))?;
                    for (next, entry) in (0..).zip(entries) {
                        *entry = Entry::new(symbol, len as u32, next);
                    }
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

    /// What these bits, the next ones from the top, begin with.
    #[inline]
    pub(super) fn entry(&self, window: u64) -> Entry {
        self.fast[(window >> (64 - FAST_BITS)) as usize]
    }

    /// Length and symbol of the long code that these bits begin with.
    pub(super) fn long_code(&self, window: u64) -> Option<(u32, u8)> {
        for len in FAST_BITS as usize + 1..=16 {
            let code = (window >> (64 - len)) as i32;
            if code < self.ends[len] {
                let place = usize::try_from(code + self.offsets[len]).ok()?;
                return Some((len as u32, *self.symbols.get(place)?));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_lies_within_the_bits_is_known() {
        // Codes 0 for runs of 1 and 3 bits, and 10 for 12 bits.
        let mut counts = [0; 16];
        (counts[0], counts[1]) = (1, 1);
        let codes = Huffman::new(&counts, &[0x13, 0x0c]).unwrap();
        let at = |bits: u64| codes.entry(bits << 56);
        for (bits, value) in [(0b0_000, -7), (0b0_011, -4), (0b0_100, 4), (0b0_111, 7)] {
            let entry = at(bits << 4 | 5);
            assert_eq!((entry.value(), entry.symbol()), (value, 0x13));
            assert_eq!(entry.whole_len(), 4);
        }
        let long = at(0b1010_1010);
        assert_eq!((long.symbol(), long.code_len()), (12, 2));
        assert_eq!(long.whole_len(), 0);
        assert_eq!(at(0b1100_0000).code_len(), 0);
    }

    #[test]
    fn more_codes_than_a_length_has_are_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Huffman::new(&counts, &[0; 6]).is_none());
        assert!(Huffman::new(&counts, &[0; 1]).is_none());
    }
}
