//! The weights of a layer, and anything else that there is one of for each of them.

use std::cell::RefCell;

use burn::tensor::Tensor;

use crate::gelu::Gelu;

/// A layer norm, or, without `beta`, an RMS norm.
#[derive(Clone, Debug)]
pub struct NormWeights<V = Tensor<1>> {
    /// What multiplies normalized numbers.
    pub gamma: V,
    /// What is added to them.
    pub beta: Option<V>,
}

/// A linear layer.
#[derive(Clone, Debug)]
pub struct LinearWeights<M = Tensor<2>, V = Tensor<1>> {
    /// `[in, out]`.
    pub weight: M,
    /// `[out]`.
    pub bias: Option<V>,
}

/// The way to queries, keys and values.
#[derive(Clone, Debug)]
pub enum Projections<M = Tensor<2>, V = Tensor<1>> {
    /// All side by side.
    Joined(LinearWeights<M, V>),
    /// One layer each.
    Apart([LinearWeights<M, V>; 3]),
}

/// The feed-forward part.
#[derive(Clone, Debug)]
pub enum FeedForward<M = Tensor<2>, V = Tensor<1>> {
    /// Two layers, with an activation between them.
    Plain(Gelu, [LinearWeights<M, V>; 2]),
    /// Gate, up and down: `down(silu(gate(x)) up(x))` (arXiv 2002.05202).
    Gated([LinearWeights<M, V>; 3]),
}

/// The weights of a [`TransformerLayer`](super::TransformerLayer).
#[derive(Clone, Debug)]
pub struct LayerWeights<M = Tensor<2>, V = Tensor<1>> {
    /// The norms before the attention and before the feed-forward part.
    pub norms: [NormWeights<V>; 2],
    /// The way to queries, keys and values.
    pub projections: Projections<M, V>,
    /// The RMS norms of the heads of queries and of those of keys, where there are any, `[dim]`.
    pub head_norms: Option<[V; 2]>,
    /// The attention's output.
    pub output: LinearWeights<M, V>,
    /// The feed-forward part.
    pub feed_forward: FeedForward<M, V>,
}

/// What makes something else of what belongs to a matrix, and of what belongs to a vector.
struct Map<F, G>(F, G);

impl<F, G> Map<F, G> {
    fn norm<V, U>(&self, norm: NormWeights<V>) -> NormWeights<U>
    where
        G: Fn(V) -> U,
    {
        NormWeights {
            gamma: (self.1)(norm.gamma),
            beta: norm.beta.map(&self.1),
        }
    }

    fn linear<M, V, L, U>(&self, linear: LinearWeights<M, V>) -> LinearWeights<L, U>
    where
        F: Fn(M) -> L,
        G: Fn(V) -> U,
    {
        LinearWeights {
            weight: (self.0)(linear.weight),
            bias: linear.bias.map(&self.1),
        }
    }
}

impl<M, V> LayerWeights<M, V> {
    /// What functions make of matrices and vectors, which they see in the order of the fields.
    pub(super) fn map<L, U>(
        self,
        matrix: impl Fn(M) -> L,
        vector: impl Fn(V) -> U,
    ) -> LayerWeights<L, U> {
        let map = Map(matrix, vector);
        LayerWeights {
            norms: self.norms.map(|norm| map.norm(norm)),
            projections: match self.projections {
                Projections::Joined(all) => Projections::Joined(map.linear(all)),
                Projections::Apart(parts) => Projections::Apart(parts.map(|of| map.linear(of))),
            },
            head_norms: self.head_norms.map(|gammas| gammas.map(&map.1)),
            output: map.linear(self.output),
            feed_forward: match self.feed_forward {
                FeedForward::Plain(activation, layers) => {
                    FeedForward::Plain(activation, layers.map(|of| map.linear(of)))
                }
                FeedForward::Gated(layers) => FeedForward::Gated(layers.map(|of| map.linear(of))),
            },
        }
    }
}

impl<T> LayerWeights<T, T> {
    /// All one after another, and which there are.
    pub(super) fn into_list(self) -> (LayerWeights<(), ()>, Vec<T>) {
        let list = RefCell::new(Vec::with_capacity(14));
        let push = |one| list.borrow_mut().push(one);
        let parts = self.map(push, push);
        (parts, list.into_inner())
    }
}

impl LayerWeights<(), ()> {
    /// What [`into_list`](LayerWeights::into_list) put one after another.
    ///
    /// # Panics
    /// When the list is too short.
    pub(super) fn of_list<T>(&self, list: impl Iterator<Item = T>) -> LayerWeights<T, T> {
        let list = RefCell::new(list);
        let next = |()| match list.borrow_mut().next() {
            Some(one) => one,
            None => unreachable!("fewer inputs than the layer has weights"),
        };
        self.clone().map(next, next)
    }
}
