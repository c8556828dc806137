//! The parts of a model, for freezing.

/// A part of a vision-language model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What encodes patches.
    VisionTower,
    /// What makes visual tokens of the tower's states.
    Merger,
    /// The decoder, embeddings and head included.
    LanguageModel,
}
