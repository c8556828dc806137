//! The attention over slices, run by run.

use burn::backend::Flex;

use super::op::SelfAttention;
use crate::attention::flex::{
    KeyValues, QueryBlock, RowSpan, StridedRows, backward, block_size, probabilities, run_blocks,
};
use crate::flex::{self, Host};
use crate::forms::Fused;
use crate::heads::Heads;
use crate::parallel;

/// Queries that a block has at most.
const QUERIES: usize = 128;

/// Queries and keys (turned) and values side by side, and the probabilities, block by block.
#[derive(Clone, Debug)]
pub struct Saved {
    qkv: Host,
    probabilities: Host,
}

impl SelfAttention {
    fn shape(&self, width: usize) -> Heads {
        Heads {
            query: self.heads,
            kv: self.heads,
            dim: width / self.heads.max(1),
        }
    }

    /// Blocks of queries, run by run, for queries, keys and values side by side.
    fn blocks<'a>(&self, qkv: &'a Host) -> Vec<Vec<QueryBlock<'a>>> {
        let stride = flex::width(qkv);
        let width = stride / 3;
        let size = block_size(self.shape(width)).min(QUERIES);
        let data = flex::read(qkv);
        let side = |part: usize, token: usize| StridedRows {
            data: &data[(token * stride + part * width).min(data.len())..],
            stride,
        };
        let mut start = 0;
        let runs = self.runs.sizes().iter().map(|&len| {
            let part = KeyValues {
                keys: side(1, start),
                values: side(2, start),
                len,
            };
            let blocks = (0..len).step_by(size).map(|at| QueryBlock {
                queries: side(0, start + at),
                shared: None,
                spans: vec![RowSpan {
                    count: size.min(len - at),
                    part,
                    causal: false,
                    first: 0,
                }],
            });
            let blocks = blocks.collect();
            start += len;
            blocks
        });
        runs.collect()
    }

    /// Turns queries and keys, in the memory of `qkv` where nobody else holds it.
    fn turned(&self, qkv: Host) -> Host {
        let mut qkv = flex::owned(qkv);
        let row = flex::width(&qkv);
        let width = row / 3;
        parallel::for_rows(
            row,
            qkv.storage_mut(),
            #[inline(always)]
            |first, rows| {
                for (token, row) in (first..).zip(rows.chunks_exact_mut(row)) {
                    self.rotation.turn_row(token, &mut row[..2 * width], 1.0);
                }
            },
        );
        qkv
    }

    fn attend(&self, qkv: Host, keep: bool) -> (Host, Saved) {
        let qkv = self.turned(qkv);
        let row = flex::width(&qkv);
        let heads = self.shape(row / 3);
        let blocks: Vec<_> = self.blocks(&qkv).into_iter().flatten().collect();
        let tokens = flex::read(&qkv).len() / row.max(1);
        let mut out = vec![0.0; tokens * row / 3];
        let kept = match keep {
            true => probabilities(heads, &blocks),
            false => 0,
        };
        let mut kept = vec![0.0; kept];
        run_blocks(heads, &blocks, &mut out, keep.then_some(&mut kept));
        let len = kept.len();
        let probabilities = flex::from_vec(kept, [len]);
        let out = flex::from_vec(out, [tokens, row / 3]);
        (out, Saved { qkv, probabilities })
    }
}

impl Fused<Flex, 1> for SelfAttention {
    type Saved = Saved;

    fn forward(&self, [qkv]: [Host; 1]) -> Host {
        self.attend(qkv, false).0
    }

    fn forward_saving(&self, [qkv]: [Host; 1]) -> (Host, Saved) {
        self.attend(qkv, true)
    }

    fn backward(&self, saved: Saved, grad: Host, _: [bool; 1]) -> [Option<Host>; 1] {
        let Saved { qkv, probabilities } = saved;
        let grad = flex::in_order(grad);
        let row = flex::width(&qkv);
        let width = row / 3;
        let heads = self.shape(width);
        let grads = StridedRows {
            data: flex::read(&grad),
            stride: width,
        };
        let found = backward(
            heads,
            self.blocks(&qkv),
            flex::read(&probabilities),
            grads,
            |run| self.runs.sizes()[run],
        );
        // The run of each token, and its place there.
        let places: Vec<(usize, usize)> = self
            .runs
            .sizes()
            .iter()
            .enumerate()
            .flat_map(|(run, &len)| (0..len).map(move |token| (run, token)))
            .collect();
        let mut out = vec![0.0; places.len() * row];
        let dim = heads.dim;
        parallel::for_rows(
            row.max(1),
            &mut out,
            #[inline(always)]
            |first, rows| {
                for (token, row) in (first..).zip(rows.chunks_exact_mut(row)) {
                    let (run, place) = places[token];
                    for (head, found) in found[run * heads.kv..][..heads.kv].iter().enumerate() {
                        let [d_keys, d_values] = &found.own;
                        for (part, from) in
                            [&found.queries, d_keys, d_values].into_iter().enumerate()
                        {
                            let at = part * width + head * dim;
                            row[at..at + dim]
                                .copy_from_slice(&from[place * dim..(place + 1) * dim]);
                        }
                    }
                    self.rotation.turn_row(token, &mut row[..2 * width], -1.0);
                }
            },
        );
        [Some(flex::from_vec(out, [places.len(), row]))]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::plain;
    use super::super::runs::Runs;
    use super::*;
    use crate::rotary::RotationTable;
    use crate::testing::{compare, has_form, numbers};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, sizes in prop::collection::vec(1usize..7, 1..5),
            heads in 1usize..4, half in 1usize..6, scale in 0.1f32..3.0,
        ) {
            let tokens: usize = sizes.iter().sum();
            let op = || SelfAttention {
                rotation: RotationTable::new(&numbers(seed, tokens * half, 20.0), half),
                runs: Runs::new(sizes.clone()),
                heads,
            };
            let shape = (tokens, 3 * heads * 2 * half, scale);
            compare([shape], seed, 1e-5, |[x]| op().apply(x), |[x]| {
                plain::self_attention(&op(), x)
            });
            has_form(&op(), [(shape.0, shape.1)]);
        }
    }
}
