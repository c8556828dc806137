//! What compilers do not find by themselves for AVX2, the vectors of nearly all x86-64 processors.
//!
//! The functions are safe where the processor has AVX2; the plain forms ask for it and call them.

pub(super) mod colour;
pub(super) mod transform;

use std::arch::x86_64::*;

/// Writes 16 bytes; `out` must have as many, or nothing is written.
#[inline]
#[target_feature(enable = "avx2")]
fn store(out: &mut [u8], bytes: __m128i) {
    if let Some(out) = out.first_chunk_mut::<16>() {
        let low = _mm_cvtsi128_si64(bytes) as u64;
        let high = _mm_extract_epi64::<1>(bytes) as u64;
        *out = (u128::from(high) << 64 | u128::from(low)).to_le_bytes();
    }
}
