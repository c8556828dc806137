//! From three planes to interleaved RGB: YCbCr is converted in 16-bit fixed point.

#[cfg(target_arch = "x86_64")]
use super::avx2;
use crate::multiversion::multiversion;

/// Converts a row from YCbCr to RGB.
pub(super) fn convert_row(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [[u8; 3]]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked.
        #[allow(unsafe_code)]
        unsafe {
            avx2::colour::convert_row(y, cb, cr, out);
        }
        return;
    }
    convert_plainly(y, cb, cr, out);
}

/// The contributions of chroma have 16 fractional bits; those to red and blue are rounded alone,
/// those to green together.
pub(super) fn convert_plainly(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [[u8; 3]]) {
    const HALF: i32 = 1 << 15;
    for (((out, &y), &cb), &cr) in out.iter_mut().zip(y).zip(cb).zip(cr) {
        let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
        let red = y + ((RED * cr + HALF) >> 16);
        let green = y + ((-GREEN[0] * cb - GREEN[1] * cr + HALF) >> 16);
        let blue = y + ((BLUE * cb + HALF) >> 16);
        *out = [red, green, blue].map(|value| value.clamp(0, 255) as u8);
    }
}

multiversion! {
    /// Interleaves three rows.
    pub(super) fn join_row(r: &[u8], g: &[u8], b: &[u8], out: &mut [[u8; 3]]) {
        for (((out, &r), &g), &b) in out.iter_mut().zip(r).zip(g).zip(b) {
            *out = [r, g, b];
        }
    }
}

/// What Cr adds to red and Cb to blue, and what both take from green.
pub(super) const RED: i32 = fixed(1.402);
pub(super) const GREEN: [i32; 2] = [fixed(0.344_14), fixed(0.714_14)];
pub(super) const BLUE: i32 = fixed(1.772);

const fn fixed(x: f64) -> i32 {
    (x * 65_536.0 + 0.5) as i32
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
    fn vectors_and_plain_code_convert_every_colour_alike() {
        let mut plain = [[0; 3]; 259];
        let mut found = plain;
        // Not a multiple of any vector's length.
        let cr: [u8; 259] = std::array::from_fn(|i| i as u8);
        for cb in 0..=255u8 {
            for y in [0, 1, 100, 254, 255] {
                convert_row(&[y; 259], &[cb; 259], &cr, &mut found);
                convert_plainly(&[y; 259], &[cb; 259], &cr, &mut plain);
                assert_eq!(found, plain, "{y} {cb}");
            }
        }
    }
}
