//! The inverse cosine transform of two blocks at once, one in each half of the vectors.
//!
//! The steps and results are those of [`super::super::transform`]. The instruction that makes the
//! difference multiplies pairs of 16-bit numbers by two factors and adds the products.

use std::arch::x86_64::*;

use super::super::blocks::Block;
use super::super::transform::{BETWEEN, FIRST, SECOND, fixed};
use super::store;

/// Eight rows of two blocks, or eight columns.
type Rows = [__m256i; 8];

/// Transforms two blocks that lie side by side; `out` has rows of `stride` samples.
#[inline]
#[target_feature(enable = "avx2")]
pub(in super::super) fn inverse_pair(
    blocks: [&Block; 2],
    table: &[i16; 64],
    out: &mut [u8],
    stride: usize,
) {
    let [left, right] = [blocks[0].as_chunks::<8>().0, blocks[1].as_chunks::<8>().0];
    let steps = table.as_chunks::<8>().0;
    // Loops and no closures here and below: these would be calls of functions without AVX2.
    let mut values = [_mm256_setzero_si256(); 8];
    let mut lower = values[0];
    for (y, value) in values.iter_mut().enumerate() {
        let row = _mm256_set_m128i(load(&right[y]), load(&left[y]));
        if y > 0 {
            lower = _mm256_or_si256(lower, row);
        }
        let steps = load(&steps[y]);
        *value = _mm256_mullo_epi16(row, _mm256_set_m128i(steps, steps));
    }
    let mut columns = pass::<FIRST>(values);
    // Blocks of one row, which are rare beside others, wrap.
    let zero = _mm256_cmpeq_epi64(lower, _mm256_setzero_si256());
    let swapped = _mm256_shuffle_epi32::<0b01_00_11_10>(zero);
    let one_row = _mm256_and_si256(zero, swapped);
    if _mm256_testz_si256(one_row, one_row) == 0 {
        let row = _mm256_slli_epi16::<BETWEEN>(values[0]);
        for column in &mut columns {
            *column = _mm256_blendv_epi8(*column, row, one_row);
        }
    }
    let rows = samples(pass::<SECOND>(transpose(columns)));
    for (rows, outs) in rows.iter().zip(out.chunks_mut(2 * stride)) {
        let (left, right) = (
            _mm256_castsi256_si128(*rows),
            _mm256_extracti128_si256::<1>(*rows),
        );
        let (upper, lower) = outs.split_at_mut(stride);
        store(upper, _mm_unpacklo_epi64(left, right));
        store(lower, _mm_unpackhi_epi64(left, right));
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(row: &[i16; 8]) -> __m128i {
    let [a, b, c, d, e, f, g, h] = *row;
    _mm_setr_epi16(a, b, c, d, e, f, g, h)
}

/// Numbers of 32 bits for one row: columns 0 to 3 and 4 to 7 of both blocks.
type Wide = [__m256i; 2];

/// Transforms columns and takes `SHIFT` bits off, rounding.
#[inline]
#[target_feature(enable = "avx2")]
fn pass<const SHIFT: i32>(v: Rows) -> Rows {
    // Even part.
    const C: i32 = fixed(0.541_196_1);
    let twos = pairs(v[2], v[6]);
    let even2 = products(twos, C, C - fixed(1.847_759_065));
    let even3 = products(twos, C + fixed(0.765_366_865), C);
    let half = _mm256_set1_epi32(1 << (SHIFT - 1));
    let even0 = add(shifted(_mm256_add_epi16(v[0], v[4])), [half; 2]);
    let even1 = add(shifted(_mm256_sub_epi16(v[0], v[4])), [half; 2]);
    let sums = [
        add(even0, even3),
        add(even1, even2),
        sub(even1, even2),
        sub(even0, even3),
    ];

    // Odd part.
    const TURN: i32 = fixed(1.175_875_602);
    const AD: i32 = fixed(0.899_976_223);
    const BC: i32 = fixed(2.562_915_447);
    let [a, b, c, d] = [v[7], v[5], v[3], v[1]];
    let both = pairs(_mm256_add_epi16(a, c), _mm256_add_epi16(b, d));
    let ac = products(both, TURN - fixed(1.961_570_56), TURN);
    let bd = products(both, TURN, TURN - fixed(0.390_180_644));
    let (ad, bc) = (pairs(a, d), pairs(b, c));
    let odds = [
        add(products(ad, -AD, fixed(1.501_321_11) - AD), bd),
        add(products(bc, -BC, fixed(3.072_711_026) - BC), ac),
        add(products(bc, fixed(2.053_119_869) - BC, -BC), bd),
        add(products(ad, fixed(0.298_631_336) - AD, -AD), ac),
    ];

    let mut out = v;
    for i in 0..4 {
        out[i] = narrow::<SHIFT>(add(sums[i], odds[i]));
        out[7 - i] = narrow::<SHIFT>(sub(sums[i], odds[i]));
    }
    out
}

/// Takes `SHIFT` bits off and saturates to 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow<const SHIFT: i32>([low, high]: Wide) -> __m256i {
    _mm256_packs_epi32(
        _mm256_srai_epi32::<SHIFT>(low),
        _mm256_srai_epi32::<SHIFT>(high),
    )
}

/// Numbers of two rows side by side.
#[inline]
#[target_feature(enable = "avx2")]
fn pairs(a: __m256i, b: __m256i) -> Wide {
    [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)]
}

/// `a * factor + b * other` for all pairs.
#[inline]
#[target_feature(enable = "avx2")]
fn products(pairs: Wide, factor: i32, other: i32) -> Wide {
    let factors = _mm256_set1_epi32(other << 16 | factor & 0xffff);
    [
        _mm256_madd_epi16(pairs[0], factors),
        _mm256_madd_epi16(pairs[1], factors),
    ]
}

/// Numbers times 2^13, the fractional bits of the factors.
#[inline]
#[target_feature(enable = "avx2")]
fn shifted(v: __m256i) -> Wide {
    let [low, high] = pairs(_mm256_setzero_si256(), v);
    [_mm256_srai_epi32::<3>(low), _mm256_srai_epi32::<3>(high)]
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: Wide, b: Wide) -> Wide {
    [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])]
}

#[inline]
#[target_feature(enable = "avx2")]
fn sub(a: Wide, b: Wide) -> Wide {
    [_mm256_sub_epi32(a[0], b[0]), _mm256_sub_epi32(a[1], b[1])]
}

#[inline]
#[target_feature(enable = "avx2")]
fn transpose(v: Rows) -> Rows {
    let (upper, lower) = (
        quarters([v[0], v[1], v[2], v[3]]),
        quarters([v[4], v[5], v[6], v[7]]),
    );
    let mut out = v;
    for (i, (&upper, &lower)) in upper.iter().zip(&lower).enumerate() {
        out[2 * i] = _mm256_unpacklo_epi64(upper, lower);
        out[2 * i + 1] = _mm256_unpackhi_epi64(upper, lower);
    }
    out
}

/// Four rows as pairs of columns: 0 and 1, 2 and 3 and so on.
#[inline]
#[target_feature(enable = "avx2")]
fn quarters(v: [__m256i; 4]) -> [__m256i; 4] {
    let (left, right) = (
        [
            _mm256_unpacklo_epi16(v[0], v[1]),
            _mm256_unpacklo_epi16(v[2], v[3]),
        ],
        [
            _mm256_unpackhi_epi16(v[0], v[1]),
            _mm256_unpackhi_epi16(v[2], v[3]),
        ],
    );
    [
        _mm256_unpacklo_epi32(left[0], left[1]),
        _mm256_unpackhi_epi32(left[0], left[1]),
        _mm256_unpacklo_epi32(right[0], right[1]),
        _mm256_unpackhi_epi32(right[0], right[1]),
    ]
}

/// From columns of values around 0 to samples, two rows in each vector.
#[inline]
#[target_feature(enable = "avx2")]
fn samples(v: Rows) -> [__m256i; 4] {
    let (v04, v15) = (
        _mm256_packs_epi16(v[0], v[4]),
        _mm256_packs_epi16(v[1], v[5]),
    );
    let (v26, v37) = (
        _mm256_packs_epi16(v[2], v[6]),
        _mm256_packs_epi16(v[3], v[7]),
    );
    let (v01, v45) = (
        _mm256_unpacklo_epi8(v04, v15),
        _mm256_unpackhi_epi8(v04, v15),
    );
    let (v23, v67) = (
        _mm256_unpacklo_epi8(v26, v37),
        _mm256_unpackhi_epi8(v26, v37),
    );
    let left = [
        _mm256_unpacklo_epi16(v01, v23),
        _mm256_unpackhi_epi16(v01, v23),
    ];
    let right = [
        _mm256_unpacklo_epi16(v45, v67),
        _mm256_unpackhi_epi16(v45, v67),
    ];
    let mut rows = [
        _mm256_unpacklo_epi32(left[0], right[0]),
        _mm256_unpackhi_epi32(left[0], right[0]),
        _mm256_unpacklo_epi32(left[1], right[1]),
        _mm256_unpackhi_epi32(left[1], right[1]),
    ];
    for rows in &mut rows {
        *rows = _mm256_xor_si256(*rows, _mm256_set1_epi8(-128));
    }
    rows
}
