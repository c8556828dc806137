//! What a draw depends on beside logits and parameters.

/// What a draw depends on beside logits and parameters.
///
/// Banned ids alone serve as well: `sampler.sample(&logits, &params, &[7], u)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamplingContext<'a> {
    /// Ids that are never drawn. They count in the log-probability's softmax, which is the model's
    /// own.
    pub banned_ids: &'a [u32],
    /// The prompt's ids, image tokens included, for the repetition penalty.
    pub prompt: &'a [u32],
    /// The completion's ids so far, for the repetition penalty.
    pub completion: &'a [u32],
    /// The only ids that may be drawn; nothing allows all. Others count in the log-probability's
    /// softmax.
    pub allowed_ids: Option<&'a [u32]>,
}

impl<'a> From<&'a [u32]> for SamplingContext<'a> {
    fn from(banned_ids: &'a [u32]) -> Self {
        Self {
            banned_ids,
            ..Self::default()
        }
    }
}

impl<'a> From<&'a Vec<u32>> for SamplingContext<'a> {
    fn from(banned_ids: &'a Vec<u32>) -> Self {
        banned_ids.as_slice().into()
    }
}

impl<'a, const N: usize> From<&'a [u32; N]> for SamplingContext<'a> {
    fn from(banned_ids: &'a [u32; N]) -> Self {
        banned_ids.as_slice().into()
    }
}
