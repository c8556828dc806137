//! Picking samples.

use super::passes::Size;

/// Picks samples of `C` bytes without mixing them. Where the centre of a new sample falls on the
/// border of two old ones, rounding decides: Pillow adds up positions, but computes each anew for
/// 16-bit samples (`summed` false).
pub(crate) fn nearest<const C: usize>(data: &[u8], from: Size, to: Size, summed: bool) -> Vec<u8> {
    let columns = nearest_indices(from.0, to.0, summed);
    let mut out = Vec::with_capacity(to.0 * to.1 * C);
    for y in nearest_indices(from.1, to.1, summed) {
        let (row, _) = data[y * from.0 * C..(y + 1) * from.0 * C].as_chunks::<C>();
        for &x in &columns {
            out.extend_from_slice(&row[x]);
        }
    }
    out
}

fn nearest_indices(input: usize, output: usize, summed: bool) -> Vec<usize> {
    let step = input as f64 / output as f64;
    let mut sum = step * 0.5;
    (0..output)
        .map(|i| {
            let position = if summed { sum } else { (i as f64 + 0.5) * step };
            sum += step;
            (position as usize).min(input - 1)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_takes_cell_centres() {
        for summed in [false, true] {
            assert_eq!(nearest_indices(4, 2, summed), [1, 3]);
            assert_eq!(nearest_indices(2, 5, summed), [0, 0, 1, 1, 1]);
            assert_eq!(
                nearest::<2>(&[1, 2, 3, 4], (2, 1), (1, 2), summed),
                [3, 4, 3, 4]
            );
        }
    }
}
