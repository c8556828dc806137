//! Rotary positions of a prompt.

/// Positions of a prompt's tokens for the rotary embedding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    /// Time, height and width of each token.
    pub ids: Vec<[u32; 3]>,
    /// The position of the first token after the prompt, the same on all three axes.
    pub next: u32,
}

impl Positions {
    /// Those of a text: token after token, the same on all axes.
    pub fn sequential(len: usize) -> Self {
        let len = len as u32;
        Self {
            ids: (0..len).map(|index| [index; 3]).collect(),
            next: len,
        }
    }
}
