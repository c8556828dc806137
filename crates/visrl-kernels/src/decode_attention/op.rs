use burn::tensor::{DType, Int, Tensor};

use super::plain;
use crate::forms::tell;
use crate::heads::Heads;

/// A score so low that its probability is 0.
const MASKED: f32 = -1e30;

/// What the layers of a decoder share in one step: where each row's new token stands, how it is
/// rotated and what it sees.
///
/// Everything lies on the device and has a shape that rows and capacity alone decide, so that a
/// step can be recorded and run again.
#[derive(Clone, Debug)]
pub struct DecodeAttention {
    pub(super) heads: Heads,
    pub(super) rows: usize,
    /// Tokens that a row's cache has room for.
    pub(super) capacity: usize,
    /// Cosines, and sines of which those of the first half are negated, `[rows, 1, dim]`, f32.
    pub(super) rotation: [Tensor<3>; 2],
    /// The place of each row's new token among the tokens of all rows, `[rows]`.
    pub(super) places: Tensor<1, Int>,
    /// What is added to scores: 0 for the tokens up to a row's new one, `[rows, 1, 1, capacity]`.
    pub(super) bias: Tensor<4>,
}

/// A step in one form: what was mixed and the cache; or the tensors as they were where it does not
/// take them.
type Form = fn(&DecodeAttention, Tensor<2>, Tensor<3>) -> Result<Attended, Attended>;

/// A tensor of tokens and the cache.
pub(super) type Attended = (Tensor<2>, Tensor<3>);

const FORMS: &[Form] = &[
    #[cfg(feature = "cubecl")]
    super::cube::attend,
    #[cfg(feature = "tch")]
    super::tch::attend,
];

impl DecodeAttention {
    /// A step of rows that have `lengths` tokens each, `[rows]`, in caches of numbers of format
    /// `dtype` with room for `capacity` tokens; a length is below the capacity. The pairs of heads
    /// are turned by `angles`, `[rows, dim / 2]`, f32.
    pub fn new(
        heads: Heads,
        angles: Tensor<2>,
        lengths: Tensor<1, Int>,
        capacity: usize,
        dtype: DType,
    ) -> Self {
        let ([rows], device) = (lengths.dims(), lengths.device());
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        let rotation = [
            Tensor::cat(vec![cos.clone(), cos], 1),
            Tensor::cat(vec![sin.clone().neg(), sin], 1),
        ];
        let first = Tensor::arange(0..rows as i64, &device) * capacity as i64;
        let tokens = Tensor::<1, Int>::arange(0..capacity as i64, &device).unsqueeze::<2>();
        let unseen = tokens.greater(lengths.clone().unsqueeze_dim(1));
        let bias = Tensor::<2>::zeros([rows, capacity], (&device, dtype)).mask_fill(unseen, MASKED);
        Self {
            heads,
            rows,
            capacity,
            rotation: rotation.map(|side| side.unsqueeze_dim(1)),
            places: first + lengths,
            bias: bias.reshape([rows, 1, 1, capacity]),
        }
    }

    /// Rotates the queries and keys of a layer's new tokens, adds keys and values to the cache and
    /// gives `softmax(q k^T / sqrt(dim)) v`, `[rows, query heads * dim]`, with the cache.
    ///
    /// `qkv` are queries, keys and values side by side, `[rows, (query + 2 kv heads) * dim]`. The
    /// cache is `[rows, capacity, 2 kv heads * dim]`, keys before values, and is written in place
    /// where nobody else holds it. What it holds beyond a row's tokens must be finite.
    pub fn attend(&self, mut qkv: Tensor<2>, mut cache: Tensor<3>) -> (Tensor<2>, Tensor<3>) {
        for form in FORMS {
            match form(self, qkv, cache) {
                Ok(attended) => {
                    tell::<Self>(true);
                    return attended;
                }
                Err(back) => (qkv, cache) = back,
            }
        }
        tell::<Self>(false);
        plain::attend(self, qkv, cache)
    }
}
