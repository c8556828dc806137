//! Products into memory that the caller owns.
//!
//! burn-flex makes the memory of a product by zeroing bytes and copying them to an aligned place,
//! both on one thread. Here the product is written once, where it stays.

use super::few_rows;
use super::matrix::Matrix;

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
