//! Completions as the decoder reads them behind their prompts.

use burn::tensor::{Int, Tensor, TensorData};
use visrl_vlm::{DecoderInput, Segment};

use super::batch::PromptRows;

/// Completions laid out in segments, padded to the longest of each segment.
///
/// A row is the prompt's last token followed by all completion tokens but the last, so that row
/// token i predicts completion token i.
pub(crate) struct DecoderRows {
    ids: Vec<u32>,
    positions: Vec<[u32; 3]>,
    /// Which of the tokens are no padding.
    kept: Vec<i64>,
}

impl DecoderRows {
    /// Lays out the rows of prompts that are encoded in these segments, and sets the segments'
    /// lengths to theirs.
    pub(crate) fn behind(prompts: &[PromptRows<'_>], segments: &mut [Segment]) -> Self {
        let mut rest = prompts;
        let mut rows = Self {
            ids: Vec::new(),
            positions: Vec::new(),
            kept: Vec::new(),
        };
        for segment in segments {
            let (own, others) = rest.split_at(segment.groups.min(rest.len()));
            rest = others;
            let lengths = own
                .iter()
                .flat_map(PromptRows::completions)
                .map(<[u32]>::len);
            segment.len = lengths.max().unwrap_or(0);
            for prompt in own {
                for tokens in prompt.completions() {
                    rows.push(prompt, tokens, segment.len);
                }
            }
        }
        rows
    }

    fn push(&mut self, prompt: &PromptRows<'_>, tokens: &[u32], len: usize) {
        let input = prompt.input();
        let first = self.ids.len();
        self.kept
            .extend((first..first + tokens.len()).map(|at| at as i64));
        self.ids.extend(input.ids.last());
        self.positions.extend(input.positions.ids.last());
        // Padding repeats the last token; it comes after all that is kept.
        self.ids
            .extend((1..len).map(|token| tokens[(token - 1).min(tokens.len() - 1)]));
        let next = input.positions.next;
        self.positions
            .extend((1..len).map(|token| [next + token as u32 - 1; 3]));
    }

    /// The tokens, as the decoder takes them.
    pub(crate) fn batch(&self) -> DecoderInput<'_> {
        DecoderInput {
            ids: &self.ids,
            positions: &self.positions,
            image_features: None,
        }
    }

    /// The states of tokens that are no padding, `[tokens, hidden]`.
    pub(crate) fn kept(&self, hidden: Tensor<2>) -> Tensor<2> {
        if self.kept.len() == self.ids.len() {
            return hidden;
        }
        let kept = TensorData::new(self.kept.clone(), [self.kept.len()]);
        let kept: Tensor<1, Int> = Tensor::from_data(kept, &hidden.device());
        hidden.select(0, kept)
    }
}
