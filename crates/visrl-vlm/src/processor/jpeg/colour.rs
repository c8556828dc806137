//! From three planes to interleaved RGB: YCbCr is converted in 16-bit fixed point.

use crate::processor::wide::wide;

wide! {
    /// Converts a row from YCbCr to RGB. The contributions of chroma have 16 fractional bits; those
    /// to red and blue are rounded alone, those to green together.
    pub(super) fn convert_row(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [[u8; 3]]) {
        const HALF: i32 = 1 << 15;
        let (y, cb, cr) = (&y[..out.len()], &cb[..out.len()], &cr[..out.len()]);
        for (((out, &y), &cb), &cr) in out.iter_mut().zip(y).zip(cb).zip(cr) {
            let (y, cb, cr) = (i16::from(y), i16::from(cb) - 128, i16::from(cr) - 128);
            // Whole multiples of chroma are taken out, so that the rest of each factor has 16 bits.
            let red = y + cr + scaled(cr, fixed(1.402) - ONE);
            let green = -fixed(0.344_14) * i32::from(cb) + (ONE - fixed(0.714_14)) * i32::from(cr);
            let green = y - cr + ((green + HALF) >> 16) as i16;
            let blue = y + 2 * cb + scaled(cb, fixed(1.772) - 2 * ONE);
            *out = [red, green, blue].map(|value| value.clamp(0, 255) as u8);
        }
    }

    /// Interleaves three rows.
    pub(super) fn join_row(r: &[u8], g: &[u8], b: &[u8], out: &mut [[u8; 3]]) {
        for (((out, &r), &g), &b) in out.iter_mut().zip(r).zip(g).zip(b) {
            *out = [r, g, b];
        }
    }
}

const ONE: i32 = 1 << 16;

const fn fixed(x: f64) -> i32 {
    (x * ONE as f64 + 0.5) as i32
}

/// `x * factor / 2^16`, rounded; the factor must have 16 bits.
#[inline(always)]
fn scaled(x: i16, factor: i32) -> i16 {
    // The upper half of a product is one instruction for vectors, where a sum before the shift
    // would need 32 bits.
    let twice = ((i32::from(2 * x) * i32::from(factor as i16)) >> 16) as i16;
    (twice + 1) >> 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
        let mut out = [[0; 3]];
        convert_row(&[y], &[cb], &[cr], &mut out);
        out[0]
    }

    #[test]
    fn grey_stays_grey_and_primaries_are_known() {
        for y in [0, 77, 255] {
            assert_eq!(rgb(y, 128, 128), [y; 3]);
        }
        assert_eq!(rgb(76, 85, 255), [254, 0, 0]);
        assert_eq!(rgb(29, 255, 107), [0, 0, 254]);
    }

    #[test]
    fn every_chroma_is_rounded_as_the_plain_formula_says() {
        let all: Vec<u8> = (0..=255).collect();
        let mut out = vec![[0; 3]; 256];
        for cb in 0..=255u8 {
            for y in [0, 100, 255] {
                convert_row(&[y; 256], &[cb; 256], &all, &mut out);
                for (&cr, &found) in all.iter().zip(&out) {
                    let [y, cb, cr] = [i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128];
                    let half = 1 << 15;
                    let red = y + ((fixed(1.402) * cr + half) >> 16);
                    let green = -fixed(0.344_14) * cb - fixed(0.714_14) * cr + half;
                    let blue = y + ((fixed(1.772) * cb + half) >> 16);
                    let plain = [red, y + (green >> 16), blue].map(|v| v.clamp(0, 255) as u8);
                    assert_eq!(found, plain, "{y} {cb} {cr}");
                }
            }
        }
    }
}
