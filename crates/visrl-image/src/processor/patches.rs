//! From an image to rows of patches, in the order in which Qwen2-VL's vision tower reads them.

/// The geometry of patches.
#[derive(Clone, Copy, Debug)]
pub(super) struct PatchLayout {
    /// Side of a patch in pixels.
    pub(super) patch: usize,
    /// Frames in a patch; a single image fills them all.
    pub(super) temporal: usize,
    /// Patches along a side of the block that becomes one visual token.
    pub(super) merge: usize,
}

/// The normalized value of every 8-bit sample, one table per channel.
///
/// Rescaled in 64-bit floats, rounded to 32 bits, then shifted and divided in 32 bits: the order of
/// Hugging Face's processor on arrays.
pub(super) fn value_tables(scale: Option<f64>, norm: Option<([f64; 3], [f64; 3])>) -> Tables {
    std::array::from_fn(|channel| {
        std::array::from_fn(|sample| {
            let value = (sample as f64 * scale.unwrap_or(1.0)) as f32;
            match norm {
                Some((mean, std)) => (value - mean[channel] as f32) / std[channel] as f32,
                None => value,
            }
        })
    })
}

/// One table of 256 values per colour channel.
pub(super) type Tables = [[f32; 256]; 3];

/// Cuts an image of `channels` (1 or 3) interleaved samples into patches,
/// `[patches, 3 * temporal * patch * patch]`.
///
/// Patches follow each other block by block (`merge x merge` patches that become one token, row by
/// row), and row by row inside a block. A patch holds channel, frame, row, column. Width and height
/// are multiples of `patch * merge`.
pub(super) fn cut(
    samples: &[u8],
    width: usize,
    height: usize,
    channels: usize,
    layout: PatchLayout,
    tables: &Tables,
) -> Vec<f32> {
    let PatchLayout {
        patch,
        temporal,
        merge,
    } = layout;
    let (rows, columns) = (height / patch, width / patch);
    let plane = patch * patch;
    let mut out = vec![0.0; rows * columns * 3 * temporal * plane];
    let mut patches = out.chunks_exact_mut(3 * temporal * plane);
    for block in 0..rows / merge * (columns / merge) {
        let (block_row, block_column) = (block / (columns / merge), block % (columns / merge));
        for inner in 0..merge * merge {
            let top = (block_row * merge + inner / merge) * patch;
            let left = (block_column * merge + inner % merge) * patch;
            let Some(out) = patches.next() else {
                return out;
            };
            for (channel, (out, table)) in out
                .chunks_exact_mut(temporal * plane)
                .zip(tables)
                .enumerate()
            {
                let offset = if channels == 3 { channel } else { 0 };
                let (frame, copies) = out.split_at_mut(plane);
                for (y, line) in frame.chunks_exact_mut(patch).enumerate() {
                    let start = ((top + y) * width + left) * channels + offset;
                    let line_samples = samples[start..].iter().step_by(channels);
                    for (value, &sample) in line.iter_mut().zip(line_samples) {
                        *value = table[usize::from(sample)];
                    }
                }
                for copy in copies.chunks_exact_mut(plane) {
                    copy.copy_from_slice(frame);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_follow_blocks_and_hold_channel_frame_row_column() {
        // 4 x 4 patches of 1 pixel, blocks of 2 x 2: the value is the patch's place in the image.
        let samples: Vec<u8> = (0..16u8).flat_map(|i| [i, i + 100, i + 200]).collect();
        let layout = PatchLayout {
            patch: 1,
            temporal: 2,
            merge: 2,
        };
        let out = cut(&samples, 4, 4, 3, layout, &value_tables(None, None));
        let firsts: Vec<f32> = out.chunks(6).map(|patch| patch[0]).collect();
        let order = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15];
        assert_eq!(firsts, order.map(|i| i as f32));
        assert_eq!(out[..6], [0.0, 0.0, 100.0, 100.0, 200.0, 200.0]);
    }

    #[test]
    fn one_channel_is_shown_three_times() {
        let layout = PatchLayout {
            patch: 2,
            temporal: 1,
            merge: 1,
        };
        let out = cut(&[1, 2, 3, 4], 2, 2, 1, layout, &value_tables(None, None));
        assert_eq!(out, [1.0, 2.0, 3.0, 4.0].repeat(3));
    }

    #[test]
    fn values_are_rescaled_then_normalized() {
        let tables = value_tables(Some(1.0 / 255.0), Some(([0.5; 3], [0.25; 3])));
        assert_eq!((tables[0][0], tables[2][255]), (-2.0, 2.0));
    }
}
