//! YCbCr to RGB, 32 pixels at once.

use std::arch::x86_64::*;

use super::super::colour::{BLUE, GREEN, RED, convert_plainly};
use super::store;

/// Pixels in a vector of bytes.
const LANES: usize = 32;

/// Converts a row; see [`super::super::colour`].
#[target_feature(enable = "avx2")]
pub(in super::super) fn convert_row(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [[u8; 3]]) {
    let [(y, y_rest), (cb, cb_rest), (cr, cr_rest)] =
        [y.as_chunks(), cb.as_chunks(), cr.as_chunks()];
    let (out, rest) = out.as_chunks_mut::<LANES>();
    for (((out, y), cb), cr) in out.iter_mut().zip(y).zip(cb).zip(cr) {
        interleave(convert(load(y), load(cb), load(cr)), out.as_flattened_mut());
    }
    convert_plainly(y_rest, cb_rest, cr_rest, rest);
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; LANES]) -> __m256i {
    let words = bytes.as_chunks::<8>().0;
    _mm256_setr_epi64x(
        i64::from_le_bytes(words[0]),
        i64::from_le_bytes(words[1]),
        i64::from_le_bytes(words[2]),
        i64::from_le_bytes(words[3]),
    )
}

/// Red, green and blue.
#[inline]
#[target_feature(enable = "avx2")]
fn convert(y: __m256i, cb: __m256i, cr: __m256i) -> [__m256i; 3] {
    let zero = _mm256_setzero_si256();
    let low = convert_half(
        _mm256_unpacklo_epi8(y, zero),
        _mm256_unpacklo_epi8(cb, zero),
        _mm256_unpacklo_epi8(cr, zero),
    );
    let high = convert_half(
        _mm256_unpackhi_epi8(y, zero),
        _mm256_unpackhi_epi8(cb, zero),
        _mm256_unpackhi_epi8(cr, zero),
    );
    [
        _mm256_packus_epi16(low[0], high[0]),
        _mm256_packus_epi16(low[1], high[1]),
        _mm256_packus_epi16(low[2], high[2]),
    ]
}

/// Red, green and blue in 16 bits. Whole multiples of chroma are taken out of the products, so that
/// the rest of each factor has 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn convert_half(y: __m256i, cb: __m256i, cr: __m256i) -> [__m256i; 3] {
    const ONE: i32 = 1 << 16;
    let center = _mm256_set1_epi16(128);
    let (cb, cr) = (_mm256_sub_epi16(cb, center), _mm256_sub_epi16(cr, center));
    let (cb2, cr2) = (_mm256_add_epi16(cb, cb), _mm256_add_epi16(cr, cr));

    let red = _mm256_add_epi16(_mm256_add_epi16(y, cr), half_product(cr2, RED - ONE));
    let blue = _mm256_add_epi16(_mm256_add_epi16(y, cb2), half_product(cb2, BLUE - 2 * ONE));

    // The upper halves of -cb * GREEN[0] + cr * (1 - GREEN[1]) + 1/2.
    let factors = _mm256_set1_epi32((ONE - GREEN[1]) << 16 | -GREEN[0] & 0xffff);
    let round = _mm256_set1_epi32(1 << 15);
    let low = _mm256_madd_epi16(_mm256_unpacklo_epi16(cb, cr), factors);
    let high = _mm256_madd_epi16(_mm256_unpackhi_epi16(cb, cr), factors);
    let green = _mm256_packs_epi32(
        _mm256_srai_epi32::<16>(_mm256_add_epi32(low, round)),
        _mm256_srai_epi32::<16>(_mm256_add_epi32(high, round)),
    );
    let green = _mm256_add_epi16(_mm256_sub_epi16(y, cr), green);
    [red, green, blue]
}

/// `x * factor / 2^17`, rounded; the factor must have 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn half_product(x: __m256i, factor: i32) -> __m256i {
    let twice = _mm256_mulhi_epi16(x, _mm256_set1_epi16(factor as i16));
    _mm256_srai_epi16::<1>(_mm256_add_epi16(twice, _mm256_set1_epi16(1)))
}

/// For each third of 16 pixels and each colour: the colour's byte that goes to each place, or none.
const PLACES: [[[u8; 16]; 3]; 3] = {
    let mut places = [[[0x80; 16]; 3]; 3];
    let mut at = 0;
    while at < 48 {
        places[at / 16][at % 3][at % 16] = (at / 3) as u8;
        at += 1;
    }
    places
};

/// Writes red, green and blue of 32 pixels.
#[inline]
#[target_feature(enable = "avx2")]
fn interleave(colours: [__m256i; 3], out: &mut [u8]) {
    let (left, right) = out.split_at_mut(48);
    for (third, places) in PLACES.iter().enumerate() {
        let mut bytes = _mm256_setzero_si256();
        for (&colour, &places) in colours.iter().zip(places) {
            let [low, high] = places.as_chunks::<8>().0 else {
                return;
            };
            let places = _mm_set_epi64x(i64::from_le_bytes(*high), i64::from_le_bytes(*low));
            let places = _mm256_set_m128i(places, places);
            bytes = _mm256_or_si256(bytes, _mm256_shuffle_epi8(colour, places));
        }
        store(&mut left[16 * third..], _mm256_castsi256_si128(bytes));
        store(
            &mut right[16 * third..],
            _mm256_extracti128_si256::<1>(bytes),
        );
    }
}
