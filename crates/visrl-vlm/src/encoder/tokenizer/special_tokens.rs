//! Qwen2-VL's special tokens.

/// The special tokens of Qwen2-VL's tokenizer, in the order of their ids.
pub const SPECIAL_TOKENS: [&str; 14] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    VISION_PAD,
    IMAGE_PAD,
    VIDEO_PAD,
];

/// The token that stands for one visual token of an image.
pub const IMAGE_PAD: &str = "<|image_pad|>";

/// The token that stands for one visual token of a video.
pub const VIDEO_PAD: &str = "<|video_pad|>";

const VISION_PAD: &str = "<|vision_pad|>";

/// Those of [`SPECIAL_TOKENS`] that part a chat into turns: text must not hold them.
pub const TURN_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Those of [`SPECIAL_TOKENS`] that have to do with images: text must not hold them and a policy
/// must not sample them.
pub const VISION_TOKENS: [&str; 5] = [
    "<|vision_start|>",
    "<|vision_end|>",
    VISION_PAD,
    IMAGE_PAD,
    VIDEO_PAD,
];
