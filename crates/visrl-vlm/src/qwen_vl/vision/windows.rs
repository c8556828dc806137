//! The order of visual tokens in which windows lie together.

use crate::qwen_vl::config::VisionConfig;

/// Visual tokens sorted by frame, then by window (rows of windows first), then by place in the
/// window, as `get_window_index` of transformers' Qwen2.5-VL has it.
///
/// Windows at the right and lower border hold fewer tokens; there are no empty ones.
#[derive(Debug, PartialEq)]
pub(super) struct WindowOrder {
    /// For each place in the new order the token's place in the old one.
    order: Vec<usize>,
    /// Tokens in each window.
    pub(super) windows: Vec<usize>,
}

impl WindowOrder {
    pub(super) fn new(frames: &[[usize; 2]], config: &VisionConfig) -> Self {
        let mut order = Vec::new();
        let mut windows = Vec::new();
        for frame in frames {
            let [height, width] = frame.map(|side| side / config.merge_size);
            let side = match &config.windows {
                Some(windows) => windows.side,
                None => height.max(width),
            };
            let start = order.len();
            for top in (0..height).step_by(side) {
                for left in (0..width).step_by(side) {
                    let (bottom, right) = ((top + side).min(height), (left + side).min(width));
                    for row in top..bottom {
                        order.extend((left..right).map(|column| start + row * width + column));
                    }
                    windows.push((bottom - top) * (right - left));
                }
            }
        }
        Self { order, windows }
    }

    /// Brings what belongs to tokens, `unit` values each, into the new order.
    pub(super) fn arrange<T: Copy>(&self, values: &[T], unit: usize) -> Vec<T> {
        let pieces = self.order.iter();
        pieces
            .flat_map(|&token| values[token * unit..(token + 1) * unit].iter().copied())
            .collect()
    }

    /// For each place in the old order the token's place in the new one.
    pub(super) fn inverse(&self) -> Vec<i64> {
        let mut inverse = vec![0; self.order.len()];
        for (new, &old) in self.order.iter().enumerate() {
            inverse[old] = new as i64;
        }
        inverse
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{VisionConfig, Windows};
    use super::*;

    fn config(side: usize) -> VisionConfig {
        VisionConfig {
            depth: 1,
            embed_dim: 8,
            heads: 1,
            intermediate_size: 8,
            channels: 3,
            patch_size: 14,
            temporal_patch_size: 2,
            merge_size: 2,
            rope_theta: 1e4,
            windows: Some(Windows {
                side,
                full_blocks: Vec::new(),
            }),
            position_embeddings: None,
            deepstack: Vec::new(),
        }
    }

    #[test]
    fn windows_lie_together_and_borders_are_smaller() {
        // 3 rows of 5 tokens in windows of 2 by 2.
        let order = WindowOrder::new(&[[6, 10]], &config(2));
        assert_eq!(order.windows, [4, 4, 2, 2, 2, 1]);
        assert_eq!(order.order[..8], [0, 1, 5, 6, 2, 3, 7, 8]);
        assert_eq!(order.order[8..], [4, 9, 10, 11, 12, 13, 14]);
    }

    #[test]
    fn frames_follow_each_other_and_the_inverse_restores_them() {
        let order = WindowOrder::new(&[[4, 4], [2, 6]], &config(2));
        assert_eq!(order.windows, [4, 2, 1]);
        let old: Vec<u32> = (0..14).collect();
        let new = order.arrange(&old, 2);
        let back: Vec<u32> = order
            .inverse()
            .iter()
            .flat_map(|&token| new[token as usize * 2..][..2].to_vec())
            .collect();
        assert_eq!(back, old);
    }
}
