//! The attention in kernels of cubecl, that of all runs in one.
#![allow(clippy::too_many_arguments)] // Those of kernels are what they bind.

use burn::backend::DispatchTensor;
use burn::tensor::DType;
use cubecl::prelude::*;

use super::op::SelfAttention;
use crate::cube::attention::{self, Layout, Sides, Span, Spans};
use crate::cube::launch::{self, WIDTH};
use crate::cube::{self, Cube, CubeTensor, element, fresh, rows};
use crate::forms::{Fused, on};
use crate::heads::Heads;

/// So many keys before the first new token that each sees all.
const ALL: usize = 1 << 30;

/// Queries and keys turned, and values, side by side: of three matrices that lie so themselves or
/// apart, from the columns that they begin in.
#[cube(launch)]
fn turn<E: Float>(
    queries: &Tensor<E>,
    keys: &Tensor<E>,
    values: &Tensor<E>,
    key_column: usize,
    value_column: usize,
    cos: &Tensor<f32>,
    sin: &Tensor<f32>,
    y: &mut Tensor<E>,
    half: usize,
    #[define(E)] _format: ElemType,
) {
    let columns = y.shape(1);
    let width = columns / 3;
    let dim = 2 * half;
    let numbers = y.shape(0) * columns;
    let mut at = ABSOLUTE_POS;
    while at < numbers {
        let (row, column) = (at / columns, at % columns);
        let own = column % width;
        let place = own % dim;
        let mut other = own + half;
        if place >= half {
            other = own - half;
        }
        let cos = cos[row * dim + place];
        let sin = sin[row * dim + place];
        if column < width {
            let start = row * queries.stride(0);
            let value = f32::cast_from(queries[start + own]) * cos;
            y[at] = E::cast_from(value + f32::cast_from(queries[start + other]) * sin);
        } else if column < 2 * width {
            let start = row * keys.stride(0) + key_column;
            let value = f32::cast_from(keys[start + own]) * cos;
            y[at] = E::cast_from(value + f32::cast_from(keys[start + other]) * sin);
        } else {
            y[at] = values[row * values.stride(0) + value_column + own];
        }
        at += CUBE_COUNT as usize * WIDTH;
    }
}

/// Queries and keys (turned) and values side by side, spans, and what was mixed.
#[derive(Clone, Debug)]
pub struct Saved {
    qkv: CubeTensor,
    spans: Spans,
    found: [CubeTensor; 2],
}

impl SelfAttention {
    fn layout(&self, width: usize) -> Layout {
        let heads = Heads {
            query: self.heads,
            kv: self.heads,
            dim: width / self.heads.max(1),
        };
        Layout {
            heads,
            columns: [0, width, 2 * width],
        }
    }

    /// Three matrices side by side, the first two turned forwards or `back`.
    fn turned_parts(&self, parts: [CubeTensor; 3], columns: [usize; 2], back: bool) -> CubeTensor {
        let [queries, keys, values] = parts;
        let tokens = queries.meta.shape()[0];
        let width = match columns {
            [0, 0] => queries.meta.shape()[1],
            [width, _] => width,
        };
        let [cos, sin] = self.rotation.sides(&queries, DType::F32, back);
        let y = fresh(&queries, &[tokens, 3 * width], queries.dtype);
        turn::launch(
            &y.client,
            launch::cubes_of_units(tokens * 3 * width),
            launch::cube(),
            queries.into_tensor_arg(),
            keys.into_tensor_arg(),
            values.into_tensor_arg(),
            columns[0],
            columns[1],
            cos.into_tensor_arg(),
            sin.into_tensor_arg(),
            y.clone().into_tensor_arg(),
            self.rotation.half(),
            element(&y),
        );
        y
    }

    fn spans(&self, like: &CubeTensor) -> Spans {
        let mut start = 0;
        let runs = self.runs.sizes().iter().map(|&len| {
            let first = start;
            start += len;
            Span {
                query: first,
                len,
                own: first,
                own_len: len,
                past: ALL,
                prefix: 0,
                prefix_len: 0,
            }
        });
        Spans::new(&runs.collect::<Vec<_>>(), like)
    }
}

/// One matrix as the keys and values of sequences.
fn sides(qkv: &CubeTensor) -> Sides {
    Sides {
        own: [qkv.clone(), qkv.clone()],
        prefix: None,
    }
}

impl Fused<Cube, 1> for SelfAttention {
    type Saved = Saved;

    fn forward(&self, inputs: [CubeTensor; 1]) -> CubeTensor {
        Fused::<Cube, 1>::forward_saving(self, inputs).0
    }

    fn forward_saving(&self, [qkv]: [CubeTensor; 1]) -> (CubeTensor, Saved) {
        let qkv = rows(qkv);
        let width = qkv.meta.shape()[1] / 3;
        let parts = [qkv.clone(), qkv.clone(), qkv];
        let qkv = self.turned_parts(parts, [width, 2 * width], false);
        let (layout, spans) = (self.layout(width), self.spans(&qkv));
        let found = attention::outputs(layout.heads, &qkv);
        attention::forward(layout, &spans, qkv.clone(), &sides(&qkv), &found);
        (found[0].clone(), Saved { qkv, spans, found })
    }

    fn backward(&self, saved: Saved, grad: CubeTensor, _: [bool; 1]) -> [Option<CubeTensor>; 1] {
        let Saved { qkv, spans, found } = saved;
        let layout = self.layout(qkv.meta.shape()[1] / 3);
        let sides = sides(&qkv);
        let (d_queries, [d_keys, d_values], _) =
            attention::backward(layout, &spans, qkv, &sides, found, grad, 1);
        [Some(self.turned_parts(
            [d_queries, d_keys, d_values],
            [0, 0],
            true,
        ))]
    }
}

/// The form for heads that there are kernels for.
///
/// # Errors
/// The input as it was, where it is another.
#[allow(clippy::result_large_err)] // The type of forms.
pub(super) fn where_it_fits(
    op: &SelfAttention,
    inputs: [DispatchTensor; 1],
) -> Result<DispatchTensor, [DispatchTensor; 1]> {
    let fits = |qkv: CubeTensor| {
        let width = qkv.meta.shape()[1] / 3;
        attention::fits(op.layout(width).heads, &qkv)
    };
    match cube::untracked(&inputs[0]).is_some_and(fits) {
        true => on::<Cube, _, 1>(op, inputs),
        false => Err(inputs),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::plain;
    use super::super::runs::Runs;
    use super::*;
    use crate::cube::testing::{compare, has_form};
    use crate::rotary::RotationTable;
    use crate::testing::numbers;

    fn check(seed: u64, sizes: &[usize], heads: usize, half: usize, scale: f32) {
        let tokens: usize = sizes.iter().sum();
        let op = || SelfAttention {
            rotation: RotationTable::new(&numbers(seed, tokens * half, 20.0), half),
            runs: Runs::new(sizes.to_vec()),
            heads,
        };
        let shape = (tokens, 3 * heads * 2 * half, scale);
        compare(
            [shape],
            seed,
            |[x]| op().apply(x),
            |[x]| plain::self_attention(&op(), x),
        );
        has_form::<1, _>(&op(), |_| vec![shape.0, shape.1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, sizes in prop::collection::vec(1usize..7, 1..5),
            heads in 1usize..4, half in 1usize..6, scale in 0.1f32..3.0,
        ) {
            check(seed, &sizes, heads, half, scale);
        }
    }

    #[test]
    fn runs_of_all_sizes() {
        check(2, &[40, 1, 16, 17], 2, 40, 1.0);
        check(3, &[33], 1, 64, 1.0);
    }
}
