//! Finding where a sorted vocabulary would be cut, without sorting it.

use super::vector;

/// Values that are looked at together: a whole block below a threshold is passed over.
const BLOCK: usize = 64;

/// The k-th largest value; minus infinity when fewer than k values are above that.
///
/// Keeps the k largest so far in `buffer`, which has room for as many again, so that it is cut back
/// to k only once for each k newcomers.
pub(super) fn kth_largest(values: &[f32], k: usize, buffer: &mut Vec<f32>) -> f32 {
    let mut least = f32::NEG_INFINITY;
    if k == 0 || k > values.len() {
        return least;
    }
    buffer.clear();
    for block in values.chunks(BLOCK) {
        if vector::max(block) <= least {
            continue;
        }
        for &value in block {
            if value > least {
                buffer.push(value);
                if buffer.len() == 2 * k {
                    least = cut_back(buffer, k);
                }
            }
        }
    }
    if buffer.len() < k {
        f32::NEG_INFINITY
    } else {
        cut_back(buffer, k)
    }
}

/// Leaves the k largest, with the least of them last, and returns it.
fn cut_back(buffer: &mut Vec<f32>, k: usize) -> f32 {
    let (_, &mut least, _) = buffer.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    buffer.truncate(k);
    least
}

/// Writes the values at least as large as `least`, and the places they stand at, in order. Minus
/// infinity is never among them.
pub(super) fn gather(values: &[f32], least: f32, ids: &mut Vec<u32>, out: &mut Vec<f32>) {
    ids.clear();
    out.clear();
    let least = least.max(f32::MIN);
    for (start, block) in (0u32..).step_by(BLOCK).zip(values.chunks(BLOCK)) {
        if vector::max(block) < least {
            continue;
        }
        if block.iter().filter(|value| **value >= least).count() == block.len() {
            ids.extend(start..start + block.len() as u32);
            out.extend_from_slice(block);
            continue;
        }
        for (id, &value) in (start..).zip(block) {
            if value >= least {
                ids.push(id);
                out.push(value);
            }
        }
    }
}

/// A number that sorts as the value does and, among equal values, later places first.
pub(super) fn key(value: f32, place: usize) -> u64 {
    let bits = (value + 0.0).to_bits(); // Adding 0 makes one zero of two.
    let order = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    u64::from(order) << 32 | u64::from(!(place as u32))
}

/// The place's part of a [`key`].
fn place(key: u64) -> usize {
    !(key as u32) as usize
}

/// The value's part of a [`key`].
pub(super) fn rank(key: u64) -> u32 {
    (key >> 32) as u32
}

/// The first key, in ascending order, at which the sum of the weights so far has `crossed`, for
/// values of which those up to `above` do not cross and those up to `most` do; nothing when they
/// do not.
///
/// Sums over the whole are vector code, so they come first: they halve the range a few times. What
/// is left in it is halved around its median, always following the half where it happens, so that
/// only a few keys are ever sorted. Sums are f64, judged as f32.
pub(super) fn first_crossing(
    values: &[f32],
    weights: &[f32],
    (mut above, mut most): (f32, f32),
    keys: &mut Vec<u64>,
    crossed: impl Fn(f32) -> bool,
) -> Option<u64> {
    const FEW: usize = 1024;
    const HALVINGS: usize = 6;
    let mut sum = vector::sum_up_to(above, values, weights);
    for _ in 0..if values.len() > FEW { HALVINGS } else { 0 } {
        let middle = above + (most - above) / 2.0;
        let with_middle = vector::sum_up_to(middle, values, weights);
        if crossed(with_middle as f32) {
            most = middle;
        } else {
            (above, sum) = (middle, with_middle);
        }
    }
    keys.clear();
    let in_range = |(_, value): &(usize, &f32)| **value > above && **value <= most;
    let range = values.iter().enumerate().filter(in_range);
    keys.extend(range.map(|(place, &value)| key(value, place)));

    let weight = |key: &u64| f64::from(weights[place(*key)]);
    let mut keys = keys.as_mut_slice();
    let mut last = keys.iter().max().copied();
    while keys.len() > 32 {
        let half = keys.len() / 2;
        keys.select_nth_unstable(half);
        let (low, high) = keys.split_at_mut(half);
        let with_low = sum + low.iter().map(weight).sum::<f64>();
        if crossed(with_low as f32) {
            last = high.first().copied();
            keys = low;
        } else {
            sum = with_low;
            keys = high;
        }
    }
    keys.sort_unstable();
    for key in keys {
        sum += weight(key);
        if crossed(sum as f32) {
            return Some(*key);
        }
    }
    // Added in another order, weights can fall short of a sum that crossed.
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, levels: u64) -> Vec<f32> {
        let hash = |i: u64| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) % levels;
        (0..n as u64)
            .map(|i| hash(i) as f32 - levels as f32 / 2.0)
            .collect()
    }

    #[test]
    fn the_kth_largest_is_the_sorted_one_s() {
        let mut buffer = Vec::new();
        let rising: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        for values in [
            noise(1000, 1 << 20),
            noise(1000, 10),
            rising,
            vec![3.0; 300],
        ] {
            let mut sorted = values.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            for k in [1, 2, 50, 128, 299, 300, 999, 1000]
                .into_iter()
                .filter(|k| *k <= values.len())
            {
                assert_eq!(kth_largest(&values, k, &mut buffer), sorted[k - 1]);
            }
            assert_eq!(kth_largest(&values, 1001, &mut buffer), f32::NEG_INFINITY);
        }
        let few = [f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY];
        assert_eq!(kth_largest(&few, 2, &mut buffer), f32::NEG_INFINITY);
    }

    #[test]
    fn gathering_is_filtering() {
        let (mut ids, mut out) = (Vec::new(), Vec::new());
        let mut values = noise(1000, 100);
        values[130..200].fill(f32::NEG_INFINITY);
        values[640..704].fill(49.0);
        for least in [f32::NEG_INFINITY, 0.0, 49.0, 100.0] {
            gather(&values, least, &mut ids, &mut out);
            let keep = |x: f32| x >= least && x > f32::NEG_INFINITY;
            let expected: Vec<u32> = (0..1000).filter(|&i| keep(values[i as usize])).collect();
            assert_eq!(ids, expected);
            assert!(
                ids.iter()
                    .zip(&out)
                    .all(|(&id, &x)| values[id as usize] == x)
            );
        }
    }

    #[test]
    fn keys_sort_by_value_and_then_against_the_place() {
        let values = [f32::MIN, -2.0, -1e-30, -0.0, 0.0, 1e-30, 2.0, f32::MAX];
        for (i, &a) in values.iter().enumerate() {
            for (j, &b) in values.iter().enumerate() {
                let expected = a.partial_cmp(&b).unwrap().then(j.cmp(&i));
                assert_eq!(key(a, i).cmp(&key(b, j)), expected, "{a} {b}");
            }
            assert_eq!(place(key(a, i)), i);
        }
    }

    #[test]
    fn crossing_is_where_the_sorted_sum_crosses() {
        for (n, levels) in [(1, 5), (31, 4), (500, 7), (5000, 1 << 20)] {
            let values = noise(n, levels);
            let weights: Vec<f32> = (0..n).map(|i| ((i * 7) % 13 + 1) as f32 / 16.0).collect();
            let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
            let mut sorted: Vec<u64> = values.iter().enumerate().map(|(i, &v)| key(v, i)).collect();
            sorted.sort_unstable();
            let all = (-(levels as f32), levels as f32);
            for share in [0.0, 0.1, 0.5, 0.93, 0.999] {
                let limit = (total * share) as f32;
                let mut sum = 0.0;
                let expected = sorted.iter().copied().find(|&key| {
                    sum += f64::from(weights[place(key)]);
                    sum as f32 > limit
                });
                let crossed = |sum| sum > limit;
                let found = first_crossing(&values, &weights, all, &mut Vec::new(), crossed);
                assert_eq!(found, expected, "{n} {share}");
            }
        }
    }
}
