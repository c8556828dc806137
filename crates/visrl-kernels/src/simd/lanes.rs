//! Sums and maxima of rows that compilers turn into vector code.

/// Partial sums and maxima that are kept apart.
const LANES: usize = 16;

/// The largest number of a row; NaN where there is one is not sure to be found.
#[inline(always)]
pub(crate) fn maximum(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    let all = lanes.iter().chain(rest);
    all.fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

/// Replaces each number by its image and returns the sum of the images.
#[inline(always)]
pub(crate) fn map_and_sum(row: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *x = f(*x);
            *lane += *x;
        }
    }
    let mut sum: f32 = lanes.iter().sum();
    for x in rest {
        *x = f(*x);
        sum += *x;
    }
    sum
}

/// Replaces each number by the first of its two images and returns the sum of the second ones.
#[inline(always)]
pub(crate) fn map_and_sum_of(row: &mut [f32], f: impl Fn(f32) -> (f32, f32)) -> f32 {
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            let (image, term) = f(*x);
            *x = image;
            *lane += term;
        }
    }
    let mut sum: f32 = lanes.iter().sum();
    for x in rest {
        let (image, term) = f(*x);
        *x = image;
        sum += term;
    }
    sum
}

/// The sum of `f` over a row.
#[inline(always)]
pub(crate) fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f(*x);
        }
    }
    rest.iter().fold(lanes.iter().sum(), |sum, &x| sum + f(x))
}

/// The sum of `f` over two rows of equal length.
#[inline(always)]
pub(crate) fn sum_of_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((lane, x), y) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(*x, *y);
        }
    }
    let rest = a_rest.iter().zip(b_rest);
    rest.fold(lanes.iter().sum(), |sum, (&x, &y)| sum + f(x, y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_maxima() {
        let mut row: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(maximum(&row), 36.0);
        assert_eq!(sum(&row, |x| x), 666.0);
        assert_eq!(sum_of_pairs(&row, &row, |x, y| x - y + 1.0), 37.0);
        assert_eq!(map_and_sum(&mut row, |x| 2.0 * x), 1332.0);
        assert_eq!(row[36], 72.0);
    }
}
