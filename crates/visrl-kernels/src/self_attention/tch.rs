//! The attention in LibTorch's operators, runs of one length together.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::backend::TensorMetadata;
use burn::tensor::{Tensor, TensorData};
use tch::{Kind, Tensor as Native};

use super::op::SelfAttention;
use super::runs::PaddedRuns;
use crate::forms::Fused;
use crate::libtorch::attention::{Attention, SavedAttention};
use crate::libtorch::{self, LibTorch, Torch};

/// Runs of one length that follow each other: the place of the first token, their number and length.
type Equal = (i64, i64, i64);

/// Groups of equal runs that are attended one after another; of more, all are brought to one length.
const GROUPS: usize = 2;

impl SelfAttention {
    fn equal_runs(&self) -> impl Iterator<Item = Equal> {
        let mut start = 0;
        self.runs.sizes().chunk_by(|a, b| a == b).map(move |runs| {
            let (first, count, len) = (start, runs.len() as i64, runs[0] as i64);
            start += count * len;
            (first, count, len)
        })
    }

    /// Heads of runs in a buffer of rows `stride` apart, from a column on, `[runs, heads, len, dim]`.
    fn heads(&self, of: &Native, (first, count, len): Equal, [stride, column]: [i64; 2]) -> Native {
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

    /// The number of runs and the length of the longest, where all are brought to that: they change
    /// often, and not much is added.
    fn padded_size(&self) -> Option<[usize; 2]> {
        let sizes = self.runs.sizes();
        let (count, longest) = (sizes.len(), *sizes.iter().max()?);
        let often = self.equal_runs().count() > GROUPS;
        let tokens: usize = sizes.iter().sum();
        (often && count * longest <= 2 * tokens).then_some([count, longest])
    }

    /// Where tokens stand in runs of one length, and what is added to scores.
    fn padded(&self, [count, longest]: [usize; 2], like: &Native) -> PaddedRuns {
        let made = self.runs.padded(|| {
            let device = libtorch::device(&libtorch::fresh(like.shallow_clone()));
            let mut tokens = vec![0; count * longest];
            let mut places = Vec::new();
            let rows = longest.next_multiple_of(8);
            // CUDA's attention wants rows that begin at multiples of eight numbers.
            let mut bias = vec![f32::NEG_INFINITY; count * rows];
            for (run, &size) in self.runs.sizes().iter().enumerate() {
                for at in 0..size {
                    let place = run * longest + at;
                    tokens[place] = places.len() as i64;
                    places.push(place as i64);
                    bias[run * rows + at] = 0.0;
                }
            }
            let ints = |of: Vec<i64>| {
                let len = of.len();
                Tensor::from_data(TensorData::new(of, [len]), &device)
            };
            let bias = TensorData::new(bias, [count, 1, 1, rows]);
            let dtype = libtorch::fresh(like.shallow_clone()).dtype();
            PaddedRuns {
                tokens: ints(tokens),
                places: ints(places),
                bias: Tensor::from_data(bias.convert_dtype(dtype), (&device, dtype)),
            }
        });
        made.clone()
    }

    /// The attention within runs, `[tokens, width]`.
    pub(crate) fn mix(&self, qkv: &Native, keep: bool) -> (Native, Vec<SavedAttention>) {
        let width = self.width();
        let attended = |qkv: &Native, runs: Equal, bias: Option<Native>| {
            let [queries, keys, values] =
                [0, 1, 2].map(|side| self.heads(qkv, runs, [3 * width, side * width]));
            let attention = Attention {
                queries,
                keys,
                values,
                bias,
            };
            let (result, kept) = attention.run(keep);
            (result.transpose(1, 2).reshape([-1, width]), kept)
        };
        if let Some(size) = self.padded_size() {
            let padded = self.padded(size, qkv);
            let [count, longest] = size.map(|size| size as i64);
            let (tokens, places) = (libtorch::ints(padded.tokens), libtorch::ints(padded.places));
            let bias = libtorch::unwrap(padded.bias).tensor.narrow(3, 0, longest);
            let bias = bias.expand([count, self.heads as i64, longest, longest], false);
            let qkv = qkv.index_select(0, &tokens.tensor);
            let (mixed, kept) = attended(&qkv, (0, count, longest), Some(bias));
            return (
                mixed.index_select(0, &places.tensor),
                kept.into_iter().collect(),
            );
        }
        let (mut parts, mut saved) = (Vec::new(), Vec::new());
        for runs in self.equal_runs() {
            let (mixed, kept) = attended(qkv, runs, None);
            saved.extend(kept);
            parts.push(mixed);
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
        let empty = |rows: i64| Native::empty([rows, 3 * width], (grad.kind(), grad.device()));
        let put = |out: &Native, runs: Equal, saved: &SavedAttention, grad: &Native| {
            let found = saved.backward(&self.heads(grad, runs, [width, 0]));
            for (side, found) in (0i64..).zip(found) {
                self.heads(out, runs, [3 * width, side * width])
                    .copy_(&found);
            }
        };
        let out = if let (Some(size), [saved]) = (self.padded_size(), saved) {
            let places = libtorch::ints(self.padded(size, grad).places);
            let [count, longest] = size.map(|size| size as i64);
            // Places that no token has bring nothing to keys and values.
            let options = (grad.kind(), grad.device());
            let mut wide = Native::zeros([count * longest, width], options);
            let _ = wide.index_copy_(0, &places.tensor, grad);
            let out = empty(count * longest);
            put(&out, (0, count, longest), saved, &wide);
            out.index_select(0, &places.tensor)
        } else {
            let out = empty(tokens);
            for (runs, saved) in self.equal_runs().zip(saved) {
                put(&out, runs, saved, grad);
            }
            out
        };
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
    use super::super::runs::Runs;
    use super::*;
    use crate::libtorch::testing::{compare, has_form};
    use crate::rotary::RotationTable;
    use crate::testing::numbers;

    #[test]
    fn equals_the_plain_form() {
        for (heads, sizes) in [
            (2, vec![4, 4, 6]),
            (1, vec![1]),
            (3, vec![5, 5]),
            (2, vec![4, 4, 2, 3, 4]),
        ] {
            let tokens: usize = sizes.iter().sum();
            // Tables stay on the device that asked first.
            let op = || SelfAttention {
                rotation: RotationTable::new(&numbers(3, tokens * 4, 20.0), 4),
                runs: Runs::new(sizes.clone()),
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
