/// Numbers of heads and their width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Heads of queries; a multiple of `kv`.
    pub query: usize,
    /// Heads of keys and values.
    pub kv: usize,
    /// Width of a head.
    pub dim: usize,
}

impl Heads {
    /// Query heads that share a head of keys and values.
    pub fn per_kv(self) -> usize {
        self.query / self.kv.max(1)
    }

    /// What products of queries and keys are multiplied with, `1 / sqrt(dim)`.
    #[cfg(feature = "flex")]
    pub fn scale(self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }
}
