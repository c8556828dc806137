//! What tokens of a layer attend to.

use super::prompts_with_rows::PromptsWithRows;
use crate::heads::Heads;
use crate::rotary::RotationTable;
use crate::self_attention::SelfAttention;

/// The attention of a layer.
#[derive(Clone, Debug)]
pub enum LayerAttention {
    /// Of a decoder.
    Prompts(PromptsAttention),
    /// Of a vision tower: within frames or windows.
    Runs(SelfAttention),
}

/// The attention of prompts and the rows behind them.
#[derive(Clone, Debug)]
pub struct PromptsAttention {
    /// The heads.
    pub heads: Heads,
    /// The rotation of queries and keys.
    pub rotation: RotationTable,
    /// The order of the tokens.
    pub tokens: PromptsWithRows,
}

impl LayerAttention {
    /// The heads.
    pub(super) fn heads(&self) -> Heads {
        match self {
            Self::Prompts(attention) => attention.heads,
            Self::Runs(attention) => Heads {
                query: attention.heads,
                kv: attention.heads,
                dim: 2 * attention.rotation.half(),
            },
        }
    }
}
