//! CPython's `random` module, as far as published few-shot lists depend on it.
//!
//! The generator is MT19937 (Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 8, 1998),
//! seeded through `init_by_array` with the 32-bit little-endian words of the seed.

use std::collections::HashSet;

use rand_mt::Mt;

/// The stream of `random.Random(seed)` in CPython 3: the same numbers in the same order.
///
/// Only for reproducing draws that were made in Python; everything else in visrl draws from a
/// [`visrl_core::SeedStream`].
#[derive(Clone, Debug)]
pub struct PythonRandom(Mt);

impl PythonRandom {
    /// `random.seed(seed)`; Python takes the absolute value of a negative seed.
    pub fn new(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        // Python's key has as many words as the number needs, and one for 0.
        let high = (high != 0).then_some(high);
        Self(Mt::new_with_key([Some(low), high].into_iter().flatten()))
    }

    /// The next 32 bits of the generator.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// `random.random()`: 53 random bits in `[0, 1)`.
    pub fn random(&mut self) -> f64 {
        let (a, b) = (self.next_u32() >> 5, self.next_u32() >> 6);
        (f64::from(a) * 67_108_864.0 + f64::from(b)) / 9_007_199_254_740_992.0
    }

    /// `random.getrandbits(bits)` for up to 64 bits (more are taken as 64); 0 for 0 bits.
    pub fn getrandbits(&mut self, bits: u32) -> u64 {
        match bits.min(64) {
            0 => 0,
            bits @ 1..=32 => u64::from(self.next_u32() >> (32 - bits)),
            bits => {
                let low = u64::from(self.next_u32());
                low | (u64::from(self.next_u32() >> (64 - bits)) << 32)
            }
        }
    }

    /// `random.randrange(n)`: a draw from `0..n`; 0, without a draw, when `n` is 0.
    pub fn randbelow(&mut self, n: usize) -> usize {
        let n = n as u64;
        if n == 0 {
            return 0;
        }
        let bits = u64::BITS - n.leading_zeros();
        loop {
            let drawn = self.getrandbits(bits);
            if drawn < n {
                return drawn as usize;
            }
        }
    }

    /// The places that `random.sample(items, k)` takes from `n` items, in the order drawn; `None`
    /// where Python raises `ValueError`, when `k > n`.
    pub fn sample(&mut self, n: usize, k: usize) -> Option<Vec<usize>> {
        if k > n {
            return None;
        }
        // Python weighs the memory of a list of n against that of a set of k.
        let mut set_size = 21usize;
        if k > 5 {
            let mut power = 1usize;
            while power < k.saturating_mul(3) {
                power = power.saturating_mul(4);
            }
            set_size = set_size.saturating_add(power);
        }
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            let drawn = (0..k).map(|i| {
                let j = self.randbelow(n - i);
                let item = pool[j];
                pool[j] = pool[n - i - 1];
                item
            });
            return Some(drawn.collect());
        }
        let mut taken = HashSet::with_capacity(k);
        let drawn = (0..k).map(|_| {
            loop {
                let j = self.randbelow(n);
                if taken.insert(j) {
                    return j;
                }
            }
        });
        Some(drawn.collect())
    }

    /// `random.shuffle(items)`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.randbelow(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_as_random_seed_42_does() {
        let mut random = PythonRandom::new(42);
        assert_eq!(random.random(), 0.6394267984578837);
        assert_eq!(random.random(), 0.025010755222666936);
        assert_eq!(PythonRandom::new(42).sample(10, 4).unwrap(), [1, 0, 4, 9]);
    }

    #[test]
    fn long_draws_join_two_words_low_one_first() {
        let (mut a, mut b) = (PythonRandom::new(1), PythonRandom::new(1));
        let words = [b.next_u32(), b.next_u32()].map(u64::from);
        assert_eq!(a.getrandbits(64), words[0] | (words[1] << 32));
        let words = [b.next_u32(), b.next_u32()].map(u64::from);
        assert_eq!(a.getrandbits(40), words[0] | ((words[1] >> 24) << 32));
        assert_eq!((a.getrandbits(0), a.randbelow(0)), (0, 0));
        assert_eq!(a.next_u32(), b.next_u32());
    }

    #[test]
    fn sample_needs_enough_items_and_repeats_none() {
        let mut random = PythonRandom::new(7);
        assert_eq!(random.sample(3, 4), None);
        assert_eq!(random.sample(0, 0), Some(vec![]));
        for (n, k) in [(21, 5), (22, 5), (85, 6), (86, 6), (100, 100)] {
            let drawn = random.sample(n, k).unwrap();
            assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), k);
            assert!(drawn.iter().all(|&i| i < n));
        }
    }
}
