//! New tokens as the decoder takes them.

use burn::tensor::Tensor;

/// New tokens for the decoder: those of all segments, one after another.
#[derive(Clone, Copy, Debug)]
pub struct DecoderInput<'a> {
    /// Token ids, `[tokens]`.
    pub ids: &'a [u32],
    /// Rotary positions, `[tokens]`.
    pub positions: &'a [[u32; 3]],
    /// Features of the image tokens among `ids`, in order, `[image tokens, hidden]` or wider, as
    /// [`encode_images`](crate::VisionLanguageModel::encode_images) gives them.
    pub image_features: Option<&'a Tensor<2>>,
}
