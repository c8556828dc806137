/// Which columns a row of scores may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// All.
    Full,
    /// Row `r` stands for new token `r % len`, which sees the `past` columns before the new tokens'
    /// own and those up to itself.
    Causal {
        /// Number of new tokens.
        len: usize,
        /// Number of columns before theirs.
        past: usize,
    },
}

impl Mask {
    /// The number of columns, from the first, that a row sees.
    pub(super) fn visible(self, row: usize, columns: usize) -> usize {
        match self {
            Self::Full => columns,
            Self::Causal { len, past } => (past + row % len + 1).min(columns),
        }
    }
}
