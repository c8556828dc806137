use std::sync::{Arc, OnceLock};

use burn::tensor::Tensor;

/// Prompts of one length, and the rows behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptRows {
    /// Prompts.
    pub groups: usize,
    /// Tokens of each prompt.
    pub prompt: usize,
    /// Rows behind each prompt.
    pub rows: usize,
    /// Tokens of each row.
    pub len: usize,
}

impl PromptRows {
    /// Tokens of all prompts.
    pub fn prompt_tokens(&self) -> usize {
        self.groups * self.prompt
    }

    /// Tokens of all rows.
    pub fn row_tokens(&self) -> usize {
        self.groups * self.rows * self.len
    }
}

/// The order of tokens that run through a decoder together: those of all prompts, then those of all
/// rows, both in the order of segments. A row's token sees its prompt and its own row up to itself.
#[derive(Clone, Debug)]
pub struct PromptsWithRows {
    layout: Arc<Layout>,
}

#[derive(Debug)]
struct Layout {
    segments: Vec<PromptRows>,
    /// What is added to the scores of prompts and of rows, segment by segment; made by the form that
    /// asks first.
    masks: OnceLock<Vec<[Tensor<4>; 2]>>,
}

impl PromptsWithRows {
    /// Segments in this order.
    pub fn new(segments: Vec<PromptRows>) -> Self {
        let masks = OnceLock::new();
        Self {
            layout: Arc::new(Layout { segments, masks }),
        }
    }

    /// The segments.
    pub fn segments(&self) -> &[PromptRows] {
        &self.layout.segments
    }

    /// Tokens of all prompts.
    pub fn prompt_tokens(&self) -> usize {
        self.segments().iter().map(PromptRows::prompt_tokens).sum()
    }

    /// The segments with the places of their first tokens of prompts and of rows.
    pub(super) fn places(&self) -> impl Iterator<Item = (&PromptRows, [usize; 2])> {
        let first = [0, self.prompt_tokens()];
        self.segments().iter().scan(first, |next, segment| {
            let places = *next;
            next[0] += segment.prompt_tokens();
            next[1] += segment.row_tokens();
            Some((segment, places))
        })
    }

    /// The masks of all segments, made once, on the device and in the format of who asks first.
    #[cfg_attr(not(feature = "tch"), allow(dead_code))] // Forms read it.
    pub(super) fn masks(&self, make: impl Fn(&PromptRows) -> [Tensor<4>; 2]) -> &[[Tensor<4>; 2]] {
        let layout = &*self.layout;
        let make_all = || layout.segments.iter().map(make).collect();
        layout.masks.get_or_init(make_all)
    }
}
