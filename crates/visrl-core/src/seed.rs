use serde::{Deserialize, Serialize};

/// What a stream of random numbers is for; streams of different domains are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// Draws of tokens: counters are (step, prompt, sample, position).
    Sampling,
    /// Draws of tokens in evaluation.
    Evaluation,
    /// The order of examples and of the names in a list of choices.
    Data,
    /// Initial weights.
    Init,
    /// Anything else; tell streams apart by the number.
    Other(u32),
}

impl Domain {
    fn code(self) -> u64 {
        match self {
            Self::Sampling => 1,
            Self::Evaluation => 2,
            Self::Data => 3,
            Self::Init => 4,
            Self::Other(n) => 0x1_0000_0000 | u64::from(n),
        }
    }
}

/// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
/// as 1, 2, 3", SC 2011).
///
/// A draw is a pure function of (seed, domain, counter). There is no state to advance, save or
/// restore, so a draw is the same alone, in any batch, on any thread and after a resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedStream {
    key: [u32; 2],
}

impl SeedStream {
    /// The stream of a run's seed for one purpose.
    pub fn new(seed: u64, domain: Domain) -> Self {
        let mixed = split_mix(seed ^ split_mix(domain.code()));
        Self {
            key: [mixed as u32, (mixed >> 32) as u32],
        }
    }

    /// A stream derived from this one, independent of it and of those with other numbers.
    pub fn derive(self, number: u64) -> Self {
        let key = u64::from(self.key[0]) | (u64::from(self.key[1]) << 32);
        let mixed = split_mix(key ^ split_mix(number.wrapping_add(0x5851_f42d_4c95_7f2d)));
        Self {
            key: [mixed as u32, (mixed >> 32) as u32],
        }
    }

    /// 128 random bits for a counter.
    pub fn bits(&self, counter: [u32; 4]) -> [u32; 4] {
        philox4x32_10(counter, self.key)
    }

    /// A uniform draw from `[0, 1)` with 53 random bits.
    pub fn uniform(&self, counter: [u32; 4]) -> f64 {
        let [a, b, ..] = self.bits(counter);
        let bits = (u64::from(a) << 32 | u64::from(b)) >> 11;
        bits as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A sequential view of the stream, for shuffles and initial weights.
    pub fn rng(self) -> ShuffleRng {
        ShuffleRng {
            stream: self,
            counter: 0,
            buffer: [0; 4],
            used: 4,
        }
    }
}

/// Draws one after another from a [`SeedStream`].
#[derive(Clone, Debug)]
pub struct ShuffleRng {
    stream: SeedStream,
    counter: u64,
    buffer: [u32; 4],
    used: usize,
}

impl ShuffleRng {
    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            let counter = [
                self.counter as u32,
                (self.counter >> 32) as u32,
                0,
                u32::MAX,
            ];
            self.buffer = self.stream.bits(counter);
            self.counter += 1;
            self.used = 0;
        }
        self.used += 1;
        self.buffer[self.used - 1]
    }

    /// A uniform draw from `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        let bits = (u64::from(self.next_u32()) << 32 | u64::from(self.next_u32())) >> 11;
        bits as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A standard normal draw (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A uniform draw from `0..n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let bound = n as u64;
        if bound <= 1 {
            return 0;
        }
        // Reject the part of the range that would favour small values.
        let zone = u64::MAX - u64::MAX % bound;
        loop {
            let bits = u64::from(self.next_u32()) << 32 | u64::from(self.next_u32());
            if bits < zone {
                return (bits % bound) as usize;
            }
        }
    }

    /// Shuffles a slice in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

fn split_mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key[0] = key[0].wrapping_add(0x9e37_79b9);
            key[1] = key[1].wrapping_add(0xbb67_ae85);
        }
        let a = u64::from(counter[0]) * 0xd251_1f53;
        let b = u64::from(counter[2]) * 0xcd9e_8d57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers_of_random123() {
        assert_eq!(
            philox4x32_10([0; 4], [0; 2]),
            [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]
        );
        assert_eq!(
            philox4x32_10([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox4x32_10(
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0]
            ),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn domains_seeds_and_counters_change_the_draw() {
        let draw = |seed, domain, counter| SeedStream::new(seed, domain).bits(counter);
        let base = draw(1, Domain::Sampling, [0; 4]);
        assert_ne!(base, draw(2, Domain::Sampling, [0; 4]));
        assert_ne!(base, draw(1, Domain::Evaluation, [0; 4]));
        assert_ne!(base, draw(1, Domain::Sampling, [0, 0, 0, 1]));
        assert_ne!(
            base,
            SeedStream::new(1, Domain::Sampling).derive(0).bits([0; 4])
        );
    }

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let mut rng = SeedStream::new(3, Domain::Other(1)).rng();
        let n = 20_000;
        let mean = (0..n).map(|_| rng.uniform()).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let normals: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = normals.iter().sum::<f64>() / n as f64;
        let var = normals.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(
            mean.abs() < 0.03 && (var - 1.0).abs() < 0.05,
            "{mean} {var}"
        );
    }

    #[test]
    fn shuffle_permutes_and_below_stays_below() {
        let mut rng = SeedStream::new(9, Domain::Data).rng();
        let mut items: Vec<usize> = (0..100).collect();
        rng.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        assert!((0..1000).all(|_| rng.below(7) < 7));
        assert_eq!(rng.below(0), 0);
    }
}
