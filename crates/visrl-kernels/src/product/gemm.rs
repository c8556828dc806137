//! Products into memory that the caller owns.
//!
//! burn-flex makes the memory of a product by zeroing bytes and copying them to an aligned place,
//! both on one thread. Here the product is written once, where it stays.

use super::few_rows;
use super::matrix::Matrix;
use crate::simd;

/// Multiplications below which a product stays on its thread.
const PARALLEL: usize = 192 * 192 * 192;

/// Where a product runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// On the caller's thread.
    One,
    /// On all threads, if it is large enough.
    All,
}

/// Writes `a b` to `out`, whose rows begin `stride` numbers apart, or adds it to what is there.
///
/// # Panics
/// When the shapes do not match or a matrix does not fit its slice.
pub(crate) fn product(
    a: Matrix<'_>,
    b: Matrix<'_>,
    out: &mut [f32],
    stride: usize,
    add: bool,
    threads: Threads,
) {
    let (m, n, k) = (a.rows(), b.columns(), a.columns());
    assert_eq!(k, b.rows(), "inner dimensions of a product");
    if m == 0 || n == 0 {
        return;
    }
    assert!(a.fits() && b.fits(), "a matrix beyond its slice");
    assert!(
        stride >= n && (m - 1) * stride + n <= out.len(),
        "a product beyond its slice"
    );
    if k > 0 && few_rows::suits(&a, &b) {
        return few_rows::product(a, b, out, stride, add, threads == Threads::All);
    }
    let work = m.saturating_mul(n).saturating_mul(k);
    let large = work >= PARALLEL && rayon::current_num_threads() > 1;
    let parallelism = match threads == Threads::All && large {
        true => gemm::Parallelism::Rayon(0),
        false => gemm::Parallelism::None,
    };
    let [a_row, a_column] = a.strides.map(|stride| stride as isize);
    let [b_row, b_column] = b.strides.map(|stride| stride as isize);
    #[cfg(target_arch = "x86_64")]
    if simd::is_narrowed() {
        return avx2(a, b, out, stride, add, parallelism);
    }
    // SAFETY: the asserts above keep all reads within `a.data` and `b.data` and all writes within
    // `out`, which nobody else can reach while it is borrowed here. Rows of `out` do not overlap,
    // because `stride >= n`.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            add,
            a.data.as_ptr(),
            a_column,
            a_row,
            b.data.as_ptr(),
            b_column,
            b_row,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// What `gemm::gemm` runs on a processor whose widest vectors are those of AVX2: `gemm` itself cannot
/// be kept from wider ones. As there, the transposed product is made, whose columns lie in order.
///
/// [`product`] has seen to it that the matrices fit.
#[cfg(target_arch = "x86_64")]
fn avx2(
    a: Matrix<'_>,
    b: Matrix<'_>,
    out: &mut [f32],
    stride: usize,
    add: bool,
    parallelism: gemm::Parallelism,
) {
    use gemm_common::gemm::gemm_basic_generic;
    use gemm_common::simd::{MixedSimd, V3};
    use gemm_f32::microkernel::fma::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};

    /// Numbers in a vector.
    const N: usize = 8;
    let Some(simd) = <V3 as MixedSimd<f32, f32, f32, f32>>::try_new() else {
        unreachable!("vectors of AVX2 are in use on a processor without them");
    };
    let [a_row, a_column] = a.strides.map(|stride| stride as isize);
    let [b_row, b_column] = b.strides.map(|stride| stride as isize);
    // SAFETY: as in `product`, whose asserts hold for these arguments, too.
    #[allow(unsafe_code)]
    unsafe {
        gemm_basic_generic::<_, f32, N, { MR_DIV_N * N }, NR, MR_DIV_N, H_M, H_N>(
            simd,
            b.columns(),
            a.rows(),
            a.columns(),
            out.as_mut_ptr(),
            stride as isize,
            1,
            add,
            b.data.as_ptr(),
            b_row,
            b_column,
            a.data.as_ptr(),
            a_row,
            a_column,
            1.0,
            1.0,
            false,
            false,
            false,
            |a, b, c| a * b + c,
            &UKR,
            &H_UKR,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{close, numbers};

    /// More rows than those that [`few_rows`] takes.
    #[test]
    fn equals_sums_by_hand_with_either_vectors() {
        for (rows, depth, columns) in [(97, 5, 3), (130, 70, 65), (200, 33, 17)] {
            let a = numbers(1, rows * depth, 1.0);
            let b = numbers(2, depth * columns, 1.0);
            // The second matrix is given turned, as gradients take it.
            let left = Matrix::new(&a, [rows, depth], [depth, 1]);
            let right = Matrix::new(&b, [depth, columns], [1, depth]);
            let stride = columns + 2;
            let start = numbers(3, rows * stride, 1.0);
            let mut expected = start.clone();
            for row in 0..rows {
                for column in 0..columns {
                    let terms = (0..depth).map(|k| a[row * depth + k] * b[column * depth + k]);
                    expected[row * stride + column] += terms.sum::<f32>();
                }
            }
            let mut out = start.clone();
            product(left, right, &mut out, stride, true, Threads::All);
            close(&out, &expected, 2e-5);
            #[cfg(target_arch = "x86_64")]
            if pulp::x86::V3::try_new().is_some() {
                let mut out = start.clone();
                avx2(left, right, &mut out, stride, true, gemm::Parallelism::None);
                close(&out, &expected, 2e-5);
                avx2(
                    left,
                    right,
                    &mut out,
                    stride,
                    false,
                    gemm::Parallelism::None,
                );
                product(left, right, &mut expected, stride, false, Threads::One);
                close(&out, &expected, 2e-5);
            }
        }
    }
}
