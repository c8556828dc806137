use burn::tensor::Tensor;

use super::plain;
use super::segment::Segment;
use super::shared_prefix::SharedPrefix;
use crate::forms::{Form, Operation, run, tell};
use crate::heads::Heads;

impl Operation<3> for SharedPrefix {
    const FORMS: &'static [Form<Self, 3>] = &[
        #[cfg(feature = "flex")]
        crate::forms::on::<burn::backend::Flex, _, 3>,
        #[cfg(feature = "flex")]
        crate::flex::in_f32::<_, 3>,
        #[cfg(feature = "cubecl")]
        super::cube::where_it_fits,
        #[cfg(feature = "tch")]
        crate::forms::on::<crate::libtorch::LibTorch, _, 3>,
    ];
}

impl Operation<5> for SharedPrefix {
    const FORMS: &'static [Form<Self, 5>] = &[
        #[cfg(feature = "flex")]
        crate::forms::on::<burn::backend::Flex, _, 5>,
        #[cfg(feature = "flex")]
        crate::flex::in_f32::<_, 5>,
        #[cfg(feature = "cubecl")]
        super::cube::where_it_fits,
        #[cfg(feature = "tch")]
        crate::forms::on::<crate::libtorch::LibTorch, _, 5>,
    ];
}

/// Attention of all segments together where nothing is recorded; nothing where a form does not take
/// the tensors.
type Untracked = fn(Heads, &[Segment<'_>], &Tensor<2>) -> Option<Tensor<2>>;

const UNTRACKED: &[Untracked] = &[
    #[cfg(feature = "flex")]
    super::flex::attend,
    #[cfg(feature = "cubecl")]
    super::cube::attend,
    #[cfg(feature = "tch")]
    super::tch::attend,
];

/// `softmax(q k^T / sqrt(dim)) v` for the new tokens of segments, one after another in `queries`
/// `[tokens, query heads * dim]`; gives the same shape.
///
/// A token sees its group's prefix, its row's earlier tokens and the new ones up to itself. The
/// prefix is multiplied once for all rows of a group, and keys are never repeated over query heads.
pub fn attend(heads: Heads, segments: &[Segment<'_>], queries: Tensor<2>) -> Tensor<2> {
    let tracked = queries.is_autodiff();
    if !tracked {
        let output = UNTRACKED
            .iter()
            .find_map(|form| form(heads, segments, &queries));
        tell::<SharedPrefix>(output.is_some());
        if let Some(output) = output {
            return output;
        }
    }
    let mut start = 0;
    let mut parts = Vec::with_capacity(segments.len());
    for segment in segments {
        let queries = match segments.len() {
            1 => queries.clone(),
            _ => queries.clone().narrow(0, start, segment.tokens()),
        };
        start += segment.tokens();
        parts.push(match tracked {
            true => recorded(heads, segment, queries),
            false => plain::attend(heads, segment, queries),
        });
    }
    match parts.len() {
        1 => parts.remove(0),
        _ => Tensor::cat(parts, 0),
    }
}

/// Attention that a backward pass follows.
fn recorded(heads: Heads, segment: &Segment<'_>, queries: Tensor<2>) -> Tensor<2> {
    let [_, capacity, _] = segment.own[0].dims();
    if segment.own_len != segment.len || capacity != segment.len {
        return plain::attend(heads, segment, queries);
    }
    let op = SharedPrefix {
        heads,
        groups: segment.groups,
        rows: segment.rows,
        len: segment.len,
    };
    let queries = queries.into_dispatch();
    let [keys, values] = segment.own.clone().map(Tensor::into_dispatch);
    let output = match segment.prefix {
        None => run(&op, [queries, keys, values]).map_err(|[queries, ..]| queries),
        Some(pair) => {
            let [of_keys, of_values] = pair.clone().map(Tensor::into_dispatch);
            run(&op, [queries, keys, values, of_keys, of_values]).map_err(|[queries, ..]| queries)
        }
    };
    output.unwrap_or_else(|queries| plain::attend(heads, segment, Tensor::from_dispatch(queries)))
}
