//! The attention in LibTorch's operators, a segment at a time.
//!
//! The query heads that share a head of keys stand one after another in the place of tokens, so
//! that keys and values are never repeated over heads. Rows get a copy of their group's prefix.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::tensor::Tensor;
use tch::Tensor as Native;

use super::segment::Segment;
use super::shared_prefix::SharedPrefix;
use crate::forms::Fused;
use crate::heads::Heads;
use crate::libtorch::attention::{Attention, SavedAttention, causal_bias};
use crate::libtorch::{self, LibTorch, Torch};

/// What the gradient needs, with the result, whose memory may be that of what is saved: held here, it
/// stays as it is.
type Saved = (SavedAttention, Torch);

/// The sizes of a segment and its heads.
#[derive(Clone, Copy)]
struct Sizes {
    groups: i64,
    rows: i64,
    len: i64,
    kv: i64,
    per_kv: i64,
    dim: i64,
}

impl Sizes {
    fn new(heads: Heads, [groups, rows, len]: [usize; 3]) -> Self {
        let [groups, rows, len, kv, per_kv, dim] =
            [groups, rows, len, heads.kv, heads.per_kv(), heads.dim].map(|size| size as i64);
        Self {
            groups,
            rows,
            len,
            kv,
            per_kv,
            dim,
        }
    }

    fn sequences(self) -> i64 {
        self.groups * self.rows
    }

    /// From `[tokens, query heads * dim]` to `[sequences, kv, per_kv * len, dim]`.
    fn folded(self, of: &Native) -> Native {
        let Self {
            len,
            kv,
            per_kv,
            dim,
            ..
        } = self;
        let of = of.contiguous();
        let apart = of.reshape([self.sequences(), len, kv, per_kv, dim]);
        apart
            .permute([0, 2, 3, 1, 4])
            .reshape([self.sequences(), kv, per_kv * len, dim])
    }

    /// The way back.
    fn unfolded(self, of: &Native) -> Native {
        let Self {
            len,
            kv,
            per_kv,
            dim,
            ..
        } = self;
        let apart = of.reshape([self.sequences(), kv, per_kv, len, dim]);
        apart
            .permute([0, 3, 1, 2, 4])
            .reshape([self.sequences() * len, kv * per_kv * dim])
    }

    /// What rows see of one side: a prefix `[groups, prefix, kv * dim]` and their own tokens
    /// `[sequences, own, kv * dim]`, as `[sequences, kv, prefix + own, dim]`.
    fn side(self, prefix: Option<&Native>, own: &Native, own_len: i64) -> Native {
        let width = self.kv * self.dim;
        let (seen, all) = match prefix {
            // The fused attention reads heads number after number.
            None => (own.contiguous(), own_len),
            Some(prefix) => {
                let len = prefix.size()[1];
                let size = [self.groups, self.rows, len, width];
                let prefix = prefix.unsqueeze(1).expand(size, false);
                let own = own.reshape([self.groups, self.rows, own_len, width]);
                (Native::cat(&[prefix, own], 2), len + own_len)
            }
        };
        seen.reshape([self.sequences(), all, self.kv, self.dim])
            .transpose(1, 2)
    }

    /// The attention of new tokens that come after `past` others.
    fn attend(
        self,
        queries: &Native,
        [keys, values]: [Native; 2],
        keep: bool,
    ) -> (Native, Option<SavedAttention>) {
        let past = keys.size()[2] - self.len;
        let heads = [self.sequences(), self.kv, self.per_kv];
        let bias = (self.len > 1).then(|| causal_bias(queries, heads, self.len, past));
        let attention = Attention {
            queries: self.folded(queries),
            keys,
            values,
            bias,
        };
        let (mixed, saved) = attention.run(keep);
        (self.unfolded(&mixed), saved)
    }
}

/// Attention of segments that begin, as those of prompts do; that of single tokens behind others is
/// left to the plain form, which does not copy their prefix.
pub(super) fn attend(
    heads: Heads,
    segments: &[Segment<'_>],
    queries: &Tensor<2>,
) -> Option<Tensor<2>> {
    let takes = |segment: &Segment<'_>| {
        let sides = segment.prefix.iter().flat_map(|pair| pair.iter());
        segment.len > 1 && sides.chain(segment.own).all(libtorch::takes)
    };
    if !libtorch::takes(queries) || !segments.iter().all(takes) {
        return None;
    }
    let queries = libtorch::unwrap(queries.clone()).tensor;
    let native = |side: &Tensor<3>| libtorch::unwrap(side.clone()).tensor;
    let (mut start, mut parts) = (0, Vec::with_capacity(segments.len()));
    for segment in segments {
        let sizes = Sizes::new(heads, [segment.groups, segment.rows, segment.len]);
        let tokens = segment.tokens() as i64;
        let own_len = segment.own_len as i64;
        let pair = [0, 1].map(|at| {
            let prefix = segment.prefix.map(|pair| native(&pair[at]));
            let own = native(&segment.own[at]).narrow(1, 0, own_len);
            sizes.side(prefix.as_ref(), &own, own_len)
        });
        parts.push(
            sizes
                .attend(&queries.narrow(0, start, tokens), pair, false)
                .0,
        );
        start += tokens;
    }
    let mixed = match parts.len() {
        1 => parts.remove(0),
        _ => Native::cat(&parts, 0),
    };
    Some(libtorch::wrap(libtorch::fresh(mixed)))
}

impl SharedPrefix {
    fn sizes(&self) -> Sizes {
        Sizes::new(self.heads, [self.groups, self.rows, self.len])
    }

    fn run_native<const N: usize>(
        &self,
        inputs: [Torch; N],
        keep: bool,
    ) -> (Torch, Option<SavedAttention>) {
        let sizes = self.sizes();
        let pair = [0, 1].map(|at| {
            let prefix = (N == 5).then(|| &inputs[N - 2 + at].tensor);
            sizes.side(prefix, &inputs[1 + at].tensor, sizes.len)
        });
        let (mixed, saved) = sizes.attend(&inputs[0].tensor, pair, keep);
        (libtorch::fresh(mixed), saved)
    }

    fn run_saving<const N: usize>(&self, inputs: [Torch; N]) -> (Torch, Saved) {
        let (mixed, saved) = self.run_native(inputs, true);
        let saved = saved.unwrap_or_else(|| unreachable!("what was to be kept"));
        (mixed.clone(), (saved, mixed))
    }

    fn native_gradients<const N: usize>(
        &self,
        saved: &SavedAttention,
        grad: &Torch,
    ) -> [Option<Torch>; N] {
        let sizes = self.sizes();
        let Sizes {
            groups,
            rows,
            len,
            kv,
            dim,
            ..
        } = sizes;
        let width = kv * dim;
        let [queries, keys, values] = saved.backward(&sizes.folded(&grad.tensor));
        let sides = [keys, values];
        let prefix = sides[0].size()[2] - len;
        let own = sides.each_ref().map(|side| {
            let own = side.narrow(2, prefix, len).transpose(1, 2);
            own.reshape([groups * rows, len, width])
        });
        let shared = sides.each_ref().map(|side| {
            let of_rows = side.reshape([groups, rows, kv, prefix + len, dim]);
            let sum = of_rows
                .narrow(3, 0, prefix)
                .sum_dim_intlist(1, false, side.kind());
            sum.transpose(1, 2).reshape([groups, prefix, width])
        });
        let mut all = std::iter::once(sizes.unfolded(&queries))
            .chain(own)
            .chain(shared)
            .map(libtorch::fresh);
        std::array::from_fn(|_| all.next())
    }
}

impl Fused<LibTorch, 3> for SharedPrefix {
    type Saved = Saved;

    fn forward(&self, inputs: [Torch; 3]) -> Torch {
        self.run_native(inputs, false).0
    }

    fn forward_saving(&self, inputs: [Torch; 3]) -> (Torch, Saved) {
        self.run_saving(inputs)
    }

    fn backward(&self, (saved, _): Saved, grad: Torch, _: [bool; 3]) -> [Option<Torch>; 3] {
        self.native_gradients(&saved, &grad)
    }
}

impl Fused<LibTorch, 5> for SharedPrefix {
    type Saved = Saved;

    fn forward(&self, inputs: [Torch; 5]) -> Torch {
        self.run_native(inputs, false).0
    }

    fn forward_saving(&self, inputs: [Torch; 5]) -> (Torch, Saved) {
        self.run_saving(inputs)
    }

    fn backward(&self, (saved, _): Saved, grad: Torch, _: [bool; 5]) -> [Option<Torch>; 5] {
        self.native_gradients(&saved, &grad)
    }
}

#[cfg(test)]
mod tests {
    use super::super::op;
    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::compare;

    #[test]
    fn equals_the_plain_form() {
        for (query, kv, [groups, rows, len], prefix) in [
            (4, 2, [2, 3, 5], 7),
            (3, 1, [1, 1, 9], 0),
            (2, 2, [3, 2, 1], 4),
            (4, 1, [2, 1, 6], 0),
        ] {
            let heads = Heads { query, kv, dim: 8 };
            let (all, width) = (query * 8, kv * 8);
            let run = |fused: bool, queries: Tensor<2>, pairs: [Option<[Tensor<2>; 2]>; 2]| {
                let [own, shared] = pairs;
                let own = own
                    .unwrap()
                    .map(|side| side.reshape([groups * rows, len, width]));
                let shared =
                    shared.map(|pair| pair.map(|side| side.reshape([groups, prefix, width])));
                let segment = Segment {
                    groups,
                    rows,
                    len,
                    prefix: shared.as_ref(),
                    own: &own,
                    own_len: len,
                };
                match fused {
                    true => op::attend(heads, &[segment], queries),
                    false => plain::attend(heads, &segment, queries),
                }
            };
            let own = (groups * rows * len, width, 2.0);
            let shapes = [(groups * rows * len, all, 2.0), own, own];
            if prefix == 0 {
                compare(
                    shapes,
                    5,
                    |[q, k, v]| run(true, q, [Some([k, v]), None]),
                    |[q, k, v]| run(false, q, [Some([k, v]), None]),
                );
                continue;
            }
            let shared = (groups * prefix, width, 2.0);
            let [queries, keys, values] = shapes;
            compare(
                [queries, keys, values, shared, shared],
                5,
                |[q, k, v, a, b]| run(true, q, [Some([k, v]), Some([a, b])]),
                |[q, k, v, a, b]| run(false, q, [Some([k, v]), Some([a, b])]),
            );
        }
    }
}
