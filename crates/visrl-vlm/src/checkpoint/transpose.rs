//! Transposing a matrix in memory.

/// `[rows, columns]` row major to `[columns, rows]` row major, in blocks that stay in cache.
pub(super) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const BLOCK: usize = 32;
    let mut out = vec![0.0; values.len()];
    for row_start in (0..rows).step_by(BLOCK) {
        let row_end = (row_start + BLOCK).min(rows);
        for column_start in (0..columns).step_by(BLOCK) {
            for row in row_start..row_end {
                for column in column_start..(column_start + BLOCK).min(columns) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::transpose;

    #[test]
    fn transposes_across_block_borders() {
        let (rows, columns) = (37, 70);
        let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        let turned = transpose(&values, rows, columns);
        assert_eq!(turned[5 * rows + 33], values[33 * columns + 5]);
        assert_eq!(transpose(&turned, columns, rows), values);
    }
}
