//! The attention in LibTorch's operators, runs of one length together.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use tch::{Kind, Tensor as Native};

use super::op::SelfAttention;
use crate::forms::Fused;
use crate::libtorch::attention::{Attention, SavedAttention};
use crate::libtorch::{self, LibTorch, Torch};

/// Runs of one length that follow each other: the place of the first token, their number and length.
type Runs = (i64, i64, i64);

impl SelfAttention {
    fn runs(&self) -> impl Iterator<Item = Runs> {
        let mut start = 0;
        self.sizes.chunk_by(|a, b| a == b).map(move |runs| {
            let (first, count, len) = (start, runs.len() as i64, runs[0] as i64);
            start += count * len;
            (first, count, len)
        })
    }

    /// Heads of runs in a buffer of rows `stride` apart, from a column on, `[runs, heads, len, dim]`.
    fn heads(&self, of: &Native, (first, count, len): Runs, [stride, column]: [i64; 2]) -> Native {
        let heads = self.heads as i64;
        let dim = self.dim();
        let size = [count, heads, len, dim];
        of.as_strided(
            size,
            [len * stride, dim, stride, 1],
            first * stride + column,
        )
    }

    fn dim(&self) -> i64 {
        2 * self.rotation.half() as i64
    }

    fn width(&self) -> i64 {
        self.heads as i64 * self.dim()
    }

    /// Turns queries and keys in place, backwards where asked to; numbers of 16 bits in f32, rounded
    /// once, as transformers turns the heads of vision towers.
    pub(crate) fn turn(&self, qkv: &Native, tokens: i64, backwards: bool) {
        let like = libtorch::fresh(qkv.shallow_clone());
        let tables = self.rotation.tensors(&libtorch::device(&like));
        let tables = tables.clone().map(|table| libtorch::unwrap(table).tensor);
        let [cos, forth, back] = tables;
        let sin = if backwards { back } else { forth };
        let (heads, dim) = (2 * self.heads as i64, self.dim());
        let mut turned = qkv.as_strided([tokens, heads, dim], [3 * self.width(), dim, 1], 0);
        if matches!(turned.kind(), Kind::BFloat16 | Kind::Half) {
            let wide = turned.to_kind(Kind::Float);
            let swapped = wide.roll([dim / 2], [-1]);
            turned.copy_(&(wide * &cos).addcmul_(&swapped, &sin));
            return;
        }
        let swapped = turned.roll([dim / 2], [-1]);
        let _ = turned.g_mul_(&cos);
        let _ = turned.addcmul_(&swapped, &sin);
    }

    /// The attention within runs, `[tokens, width]`.
    pub(crate) fn mix(&self, qkv: &Native, keep: bool) -> (Native, Vec<SavedAttention>) {
        let width = self.width();
        let (mut parts, mut saved) = (Vec::new(), Vec::new());
        for runs in self.runs() {
            let [queries, keys, values] =
                [0, 1, 2].map(|side| self.heads(qkv, runs, [3 * width, side * width]));
            let attention = Attention {
                queries,
                keys,
                values,
                bias: None,
            };
            let (result, kept) = attention.run(keep);
            saved.extend(kept);
            parts.push(result.transpose(1, 2).reshape([-1, width]));
        }
        let mixed = match parts.len() {
            1 => parts.remove(0),
            _ => Native::cat(&parts, 0),
        };
        (mixed, saved)
    }

    /// The gradient of queries, keys and values side by side, before their rotation.
    pub(crate) fn unmix(&self, saved: &[SavedAttention], grad: &Native, tokens: i64) -> Native {
        let width = self.width();
        let out = Native::empty([tokens, 3 * width], (grad.kind(), grad.device()));
        for (runs, saved) in self.runs().zip(saved) {
            let found = saved.backward(&self.heads(grad, runs, [width, 0]));
            for (side, found) in (0i64..).zip(found) {
                self.heads(&out, runs, [3 * width, side * width])
                    .copy_(&found);
            }
        }
        self.turn(&out, tokens, true);
        out
    }
}

impl Fused<LibTorch, 1> for SelfAttention {
    /// With the result, whose memory may be that of what is saved: held here, it stays as it is.
    type Saved = (Vec<SavedAttention>, Torch);

    fn forward(&self, [qkv]: [Torch; 1]) -> Torch {
        let qkv = libtorch::at_start(qkv);
        self.turn(&qkv, qkv.size()[0], false);
        libtorch::fresh(self.mix(&qkv, false).0)
    }

    fn forward_saving(&self, [qkv]: [Torch; 1]) -> (Torch, Self::Saved) {
        let qkv = libtorch::at_start(qkv);
        self.turn(&qkv, qkv.size()[0], false);
        let (mixed, saved) = self.mix(&qkv, true);
        let mixed = libtorch::fresh(mixed);
        (mixed.clone(), (saved, mixed))
    }

    fn backward(&self, (saved, _): Self::Saved, grad: Torch, _: [bool; 1]) -> [Option<Torch>; 1] {
        let grad = libtorch::at_start(grad);
        let found = self.unmix(&saved, &grad, grad.size()[0]);
        [Some(libtorch::fresh(found))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::{compare, has_form};
    use crate::rotary::RotationTable;
    use crate::testing::numbers;

    #[test]
    fn equals_the_plain_form() {
        for (heads, sizes) in [(2, vec![4, 4, 6]), (1, vec![1]), (3, vec![5, 5])] {
            let tokens: usize = sizes.iter().sum();
            // Tables stay on the device that asked first.
            let op = || SelfAttention {
                rotation: RotationTable::new(&numbers(3, tokens * 4, 20.0), 4),
                sizes: sizes.clone(),
                heads,
            };
            let shape = (tokens, 3 * heads * 8, 2.0);
            compare(
                [shape],
                7,
                |[qkv]| op().apply(qkv),
                |[qkv]| plain::self_attention(&op(), qkv),
            );
            has_form(&op(), [(tokens, 3 * heads * 8)]);
        }
    }
}
