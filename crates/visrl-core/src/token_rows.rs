//! Rows of different lengths, one after another.

use std::ops::Range;

/// One value per token for rows (completions) of different lengths: all values one row after
/// another, and where each row ends. There is no padding.
///
/// Log-probabilities, entropies and gradients of the same completions have the same ends.
///
/// ```
/// use visrl_core::TokenRows;
///
/// let mut logps = TokenRows::new();
/// logps.push_row([-0.5, -1.0]);
/// logps.push_row([]);
/// logps.push_row([-0.1]);
/// assert_eq!(logps.ends(), [2, 2, 3]);
/// assert_eq!(logps.row(0), [-0.5, -1.0]);
/// assert_eq!(logps, TokenRows::from(vec![vec![-0.5, -1.0], vec![], vec![-0.1]]));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRows<T> {
    values: Vec<T>,
    ends: Vec<usize>,
}

impl<T> TokenRows<T> {
    /// No rows.
    pub fn new() -> Self {
        Self {
            values: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Rows of `values`, `[tokens]`: row `r` is `values[ends[r - 1]..ends[r]]`, from 0 for the
    /// first. `None` when the ends fall or the last is not the number of values.
    pub fn from_parts(values: Vec<T>, ends: Vec<usize>) -> Option<Self> {
        let fits = ends.is_sorted() && ends.last().copied().unwrap_or(0) == values.len();
        fits.then_some(Self { values, ends })
    }

    /// Adds a row at the end.
    pub fn push_row(&mut self, row: impl IntoIterator<Item = T>) {
        self.values.extend(row);
        self.ends.push(self.values.len());
    }

    /// Adds all rows of another at the end.
    pub fn append(&mut self, other: Self) {
        let first = self.values.len();
        self.values.extend(other.values);
        self.ends.extend(other.ends.iter().map(|end| first + end));
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Number of values in all rows.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no value; there may be rows, all empty.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The place of a row's values among all, for [`rows`](Self::rows) rows.
    pub fn range(&self, row: usize) -> Range<usize> {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[row]
    }

    /// The values of a row.
    pub fn row(&self, row: usize) -> &[T] {
        &self.values[self.range(row)]
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[T]> + Clone {
        (0..self.rows()).map(|row| self.row(row))
    }

    /// Where each row ends, `[rows]`.
    pub fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// All values, one row after another.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// All values, for writing.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// All values, without their rows.
    pub fn into_values(self) -> Vec<T> {
        self.values
    }
}

impl<T> Default for TokenRows<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, R: IntoIterator<Item = T>> FromIterator<R> for TokenRows<T> {
    fn from_iter<I: IntoIterator<Item = R>>(rows: I) -> Self {
        let mut all = Self::new();
        for row in rows {
            all.push_row(row);
        }
        all
    }
}

impl<T> From<Vec<Vec<T>>> for TokenRows<T> {
    fn from(rows: Vec<Vec<T>>) -> Self {
        rows.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_put_in() {
        let nested = vec![vec![1, 2, 3], vec![], vec![4]];
        let rows = TokenRows::from(nested.clone());
        assert_eq!((rows.rows(), rows.len()), (3, 4));
        assert!(rows.iter().eq(nested.iter().map(Vec::as_slice)));
        assert_eq!(
            (rows.range(0), rows.range(1), rows.range(2)),
            (0..3, 3..3, 3..4)
        );
        let parts = TokenRows::from_parts(vec![1, 2, 3, 4], vec![3, 3, 4]);
        assert_eq!(parts, Some(rows.clone()));
        let mut twice = rows.clone();
        twice.append(rows);
        assert_eq!(
            (twice.ends(), twice.row(3)),
            (&[3, 3, 4, 7, 7, 8][..], &[1, 2, 3][..])
        );
    }

    #[test]
    fn ends_that_do_not_fit_are_refused() {
        for ends in [vec![], vec![2, 1], vec![2, 1, 2], vec![3]] {
            assert_eq!(TokenRows::from_parts(vec![0; 2], ends), None);
        }
        let empty = TokenRows::<f32>::from_parts(vec![], vec![]);
        assert!(empty.is_some_and(|rows| rows.is_empty()));
    }
}
