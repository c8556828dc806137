//! The coefficients of a block, from the bits of a sequential or a progressive scan.

use super::bits::{Bits, Damaged};
use super::huffman::Huffman;

/// The coefficients of 8 x 8 samples in natural order: row by row, low frequencies first.
pub(super) type Block = [i16; 64];

/// The place in a block of the coefficients in the order of their codes.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// The place in a block of coefficient `k`.
#[inline(always)]
pub(super) fn natural(k: usize) -> usize {
    usize::from(ZIGZAG[k & 63] & 63)
}

/// What a scan holds of each block.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// First and last coefficient.
    pub(super) first: usize,
    pub(super) last: usize,
    /// Bits that were sent before (0 in a coefficient's first scan), and that come later.
    pub(super) high: u32,
    pub(super) low: u32,
    pub(super) progressive: bool,
}

/// The next DC value: the predictor and the difference that comes next.
#[inline(always)]
fn dc(bits: &mut Bits<'_>, codes: &Huffman, predictor: &mut i32) -> Result<i32, Damaged> {
    let (size, difference) = bits.symbol_and_value(codes)?;
    if size > 15 {
        return Err(Damaged);
    }
    *predictor = predictor.wrapping_add(difference);
    Ok(*predictor)
}

/// Reads a whole block into one of zeros.
#[inline]
pub(super) fn sequential(
    bits: &mut Bits<'_>,
    dc_codes: &Huffman,
    ac_codes: &Huffman,
    predictor: &mut i32,
    block: &mut Block,
) -> Result<(), Damaged> {
    // A copy stays in registers.
    let mut own = *bits;
    block[0] = dc(&mut own, dc_codes, predictor)? as i16;
    let mut k = 1;
    while k < 64 {
        let (symbol, value) = own.symbol_and_value(ac_codes)?;
        let zeros = usize::from(symbol >> 4);
        if symbol & 15 == 0 {
            if zeros < 15 {
                break;
            }
            k += 16;
            continue;
        }
        k += zeros;
        if k > 63 {
            return Err(Damaged);
        }
        block[natural(k)] = value as i16;
        k += 1;
    }
    *bits = own;
    Ok(())
}

/// Reads a DC coefficient of a progressive scan.
pub(super) fn progressive_dc(
    bits: &mut Bits<'_>,
    codes: Option<&Huffman>,
    part: Part,
    predictor: &mut i32,
    block: &mut Block,
) -> Result<(), Damaged> {
    if part.high > 0 {
        block[0] |= (bits.take(1)? << part.low) as i16;
    } else {
        block[0] = (dc(bits, codes.ok_or(Damaged)?, predictor)? << part.low) as i16;
    }
    Ok(())
}

/// Reads AC coefficients for the first time; `run` counts the blocks to come that have none, and
/// `known` gets the bits of those that are not 0, by their order in codes.
pub(super) fn first_pass(
    bits: &mut Bits<'_>,
    codes: &Huffman,
    part: Part,
    run: &mut u32,
    block: &mut Block,
    known: &mut u64,
) -> Result<(), Damaged> {
    if *run > 0 {
        *run -= 1;
        return Ok(());
    }
    let mut own = *bits;
    let mut k = part.first;
    while k <= part.last {
        let (symbol, value) = own.symbol_and_value(codes)?;
        let zeros = u32::from(symbol >> 4);
        if symbol & 15 == 0 {
            if zeros < 15 {
                *run = (1 << zeros) - 1 + own.take(zeros)? as u32;
                break;
            }
            k += 16;
            continue;
        }
        k += zeros as usize;
        if k > part.last {
            return Err(Damaged);
        }
        let value = (value << part.low) as i16;
        block[natural(k)] = value;
        *known |= u64::from(value != 0) << k;
        k += 1;
    }
    *bits = own;
    Ok(())
}

/// Reads one more bit of AC coefficients, and new ones whose first bit this is.
///
/// `known` tells which coefficients are not 0; few are in most blocks, so that looking at each of
/// them would take most of the time.
pub(super) fn refinement(
    bits: &mut Bits<'_>,
    codes: &Huffman,
    part: Part,
    run: &mut u32,
    block: &mut Block,
    known: &mut u64,
) -> Result<(), Damaged> {
    let bit = 1i16 << part.low;
    let mut own = *bits;
    // Known coefficients that are still to be refined.
    let mut left = *known & u64::MAX << part.first & u64::MAX >> (63 - part.last);
    let refine_next = |own: &mut Bits<'_>, block: &mut Block, left: &mut u64| {
        let k = left.trailing_zeros() as usize;
        *left &= left.wrapping_sub(1);
        refine(own, &mut block[natural(k)], bit).map(|()| k)
    };
    let mut k = part.first;
    while *run == 0 && k <= part.last {
        // A new coefficient is one bit, whose value is -1 or 1.
        let (symbol, value) = own.symbol_and_value(codes)?;
        let mut zeros = usize::from(symbol >> 4);
        match symbol & 15 {
            0 if zeros < 15 => {
                // This block belongs to the run: its known coefficients are refined below.
                *run = (1 << zeros) + own.take(zeros as u32)? as u32;
                break;
            }
            0 | 1 => {}
            _ => return Err(Damaged),
        }
        // Known coefficients on the way are refined; zeros are counted.
        loop {
            let gap = (left.trailing_zeros() as usize).min(part.last + 1) - k;
            if zeros < gap {
                k += zeros;
                let value = (value << part.low) as i16;
                block[natural(k)] = value;
                *known |= u64::from(value != 0) << k;
                k += 1;
                break;
            }
            if left == 0 {
                k = part.last + 1;
                break;
            }
            zeros -= gap;
            k = refine_next(&mut own, block, &mut left)? + 1;
        }
    }
    if *run > 0 {
        while left != 0 {
            refine_next(&mut own, block, &mut left)?;
        }
        *run -= 1;
    }
    *bits = own;
    Ok(())
}

/// Adds a bit to the size of a coefficient, if the next bit says so.
#[inline(always)]
fn refine(bits: &mut Bits<'_>, coefficient: &mut i16, bit: i16) -> Result<(), Damaged> {
    if bits.take(1)? == 1 && *coefficient & bit == 0 {
        let step = if *coefficient > 0 { bit } else { -bit };
        *coefficient = coefficient.wrapping_add(step);
    }
    Ok(())
}
