//! Matrices that lie anywhere in slices.

use std::borrow::Cow;

use crate::flex::Host;

/// A matrix somewhere in a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    rows: usize,
    columns: usize,
    /// Distances from row to row and from column to column.
    pub(super) strides: [usize; 2],
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
    pub(super) fn fits(&self) -> bool {
        let [row, column] = self.strides;
        let empty = self.rows == 0 || self.columns == 0;
        empty || (self.rows - 1) * row + (self.columns - 1) * column < self.data.len()
    }
}
