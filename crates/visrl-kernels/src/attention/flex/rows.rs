//! Rows of numbers where they lie.

use crate::product::Matrix;

/// Rows of numbers at equal distances, the heads of a row side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StridedRows<'a> {
    pub(crate) data: &'a [f32],
    /// From the start of a row to the start of the next.
    pub(crate) stride: usize,
}

impl<'a> StridedRows<'a> {
    pub(crate) fn skip(self, rows: usize) -> Self {
        let data = &self.data[(rows * self.stride).min(self.data.len())..];
        Self { data, ..self }
    }

    /// One head of the first rows, `[rows, dim]`.
    pub(super) fn head(self, rows: usize, head: usize, dim: usize) -> Matrix<'a> {
        Matrix::new(&self.data[head * dim..], [rows, dim], [self.stride, 1])
    }
}

/// Keys and values of `len` tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyValues<'a> {
    pub(crate) keys: StridedRows<'a>,
    pub(crate) values: StridedRows<'a>,
    pub(crate) len: usize,
}

/// The first columns of rows that lie `stride` apart.
pub(super) fn view(of: &[f32], rows: usize, columns: usize, stride: usize) -> Matrix<'_> {
    Matrix::new(of, [rows, columns], [stride, 1])
}
