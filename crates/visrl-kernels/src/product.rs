//! Products of matrices into memory that the caller owns.
//!
//! burn-flex makes the memory of a product by zeroing bytes and copying them to an aligned place,
//! both on one thread. Here the product is written once, where it stays.

use std::borrow::Cow;

use super::few_rows;
use super::flex::Host;

/// Multiplications below which a product stays on its thread.
const PARALLEL: usize = 192 * 192 * 192;

/// A matrix somewhere in a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    /// Distances from row to row and from column to column.
    strides: [usize; 2],
}

/// Where a product runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// On the caller's thread.
    One,
    /// On all threads, if it is large enough.
    All,
}

impl<'a> Matrix<'a> {
    /// The matrix whose first number is the slice's, with the distances from row to row and from
    /// column to column.
    pub(crate) fn new(data: &'a [f32], [rows, columns]: [usize; 2], strides: [usize; 2]) -> Self {
        Self {
            data,
            rows,
            columns,
            strides,
        }
    }

    /// The matrix that a tensor of two axes is, whatever its layout.
    ///
    /// # Panics
    /// When the tensor has other than two axes, or counts one of them backwards.
    pub(crate) fn of(tensor: &'a Host) -> Self {
        let layout = tensor.layout();
        let shape = layout.shape().as_slice();
        let strides = layout.strides();
        assert!(shape.len() == 2 && strides.iter().all(|&stride| stride >= 0));
        Self {
            data: &tensor.storage()[layout.start_offset()..],
            rows: shape[0],
            columns: shape[1],
            strides: [strides[0] as usize, strides[1] as usize],
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The matrix with rows and columns swapped.
    pub(crate) fn transposed(self) -> Self {
        let [row, column] = self.strides;
        Self {
            rows: self.columns,
            columns: self.rows,
            strides: [column, row],
            ..self
        }
    }

    /// Whether the numbers of a row lie one after another.
    pub(super) fn is_row_major(&self) -> bool {
        self.strides[1] == 1
    }

    /// From the start of a row to the start of the next.
    pub(super) fn row_stride(&self) -> usize {
        self.strides[0]
    }

    /// The slice from a column of the first row on.
    pub(super) fn starting_at(&self, column: usize) -> &'a [f32] {
        &self.data[column * self.strides[1]..]
    }

    /// The numbers with those of a row one after another, and the distance from row to row; copied
    /// only where they are not so already.
    pub(super) fn to_rows(self) -> (Cow<'a, [f32]>, usize) {
        let [row, column] = self.strides;
        if column == 1 {
            return (Cow::Borrowed(self.data), row);
        }
        let mut rows = vec![0.0; self.rows * self.columns];
        for (r, to) in rows.chunks_exact_mut(self.columns.max(1)).enumerate() {
            for (to, from) in to
                .iter_mut()
                .zip(self.data[r * row..].iter().step_by(column))
            {
                *to = *from;
            }
        }
        (Cow::Owned(rows), self.columns)
    }

    /// Whether every number lies in the slice.
    fn fits(&self) -> bool {
        let [row, column] = self.strides;
        let empty = self.rows == 0 || self.columns == 0;
        empty || (self.rows - 1) * row + (self.columns - 1) * column < self.data.len()
    }
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
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "inner dimensions of a product");
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
