//! Keys and values of earlier tokens.

use burn::tensor::Tensor;

/// Tokens that a row's own memory is made for at least, once it has to grow.
const MIN_CAPACITY: usize = 16;

/// Keys and values of one layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerCache {
    /// Of the prefix that the rows of a group share, `[groups, prefix, kv heads * dim]` each.
    pub(crate) prefix: Option<[Tensor<3>; 2]>,
    /// Of each row's own tokens, `[groups * rows, capacity, kv heads * dim]` each, of which the
    /// first `len` are there.
    pub(crate) own: Option<[Tensor<3>; 2]>,
    /// Tokens that each row has of its own.
    pub(crate) len: usize,
}

impl LayerCache {
    /// Adds `new` tokens to each of `sequences` rows; `pair` is `[sequences * new, kv heads * dim]`
    /// each.
    ///
    /// Without gradients, tokens are written into memory that doubles when it is full. With them,
    /// tensors must not change, and are concatenated.
    pub(crate) fn append(&mut self, sequences: usize, new: usize, pair: [Tensor<2>; 2]) {
        let pair = pair.map(|side| {
            let width = side.dims()[1];
            side.reshape([sequences, new, width])
        });
        let (len, total) = (self.len, self.len + new);
        self.len = total;
        let Some(own) = self.own.take().filter(|_| len > 0) else {
            self.own = Some(pair);
            return;
        };
        let mut sides = own.into_iter().zip(pair).map(|(own, new_side)| {
            let [_, capacity, width] = own.dims();
            if own.is_autodiff() || new_side.is_autodiff() {
                return Tensor::cat(vec![own.narrow(1, 0, len), new_side], 1);
            }
            let grown = match capacity >= total {
                true => own,
                false => {
                    let capacity = (2 * capacity).max(total).max(MIN_CAPACITY);
                    let options = (&own.device(), own.dtype());
                    let empty = Tensor::zeros([sequences, capacity, width], options);
                    empty.slice_assign([0..sequences, 0..len, 0..width], own.narrow(1, 0, len))
                }
            };
            grown.slice_assign([0..sequences, len..total, 0..width], new_side)
        });
        self.own = sides
            .next()
            .zip(sides.next())
            .map(|(keys, values)| [keys, values]);
    }

    /// The keys and values that are there, `[groups * rows, len, kv heads * dim]` each.
    pub(crate) fn own(&self) -> Option<[Tensor<3>; 2]> {
        let pair = self.own.as_ref()?;
        Some(
            pair.each_ref()
                .map(|side| match side.dims()[1] == self.len {
                    true => side.clone(),
                    false => side.clone().narrow(1, 0, self.len),
                }),
        )
    }
}

/// Keys and values of the earlier tokens of a [`Segment`](super::segment::Segment).
///
/// A group's prefix (image and prompt) is held once, whatever the number of rows.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    layers: Vec<LayerCache>,
}

impl KvCache {
    pub(crate) fn layer(&mut self, index: usize) -> &mut LayerCache {
        if index >= self.layers.len() {
            self.layers.resize_with(index + 1, LayerCache::default);
        }
        &mut self.layers[index]
    }

    /// Tokens in the shared prefix.
    pub fn prefix_len(&self) -> usize {
        let prefix = self.layers.first().and_then(|layer| layer.prefix.as_ref());
        prefix.map_or(0, |[keys, _]| keys.dims()[1])
    }

    /// Keys and values of the shared prefix in a layer, `[groups, prefix, kv heads * dim]` each.
    pub(crate) fn prefix(&self, layer: usize) -> Option<&[Tensor<3>; 2]> {
        self.layers.get(layer)?.prefix.as_ref()
    }

    /// Tokens that each row has of its own.
    pub fn own_len(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.len)
    }

    /// Memory that keys and values take, in bytes.
    pub fn bytes(&self) -> usize {
        let sides = self
            .layers
            .iter()
            .flat_map(|layer| [&layer.prefix, &layer.own]);
        let size = |side: &Tensor<3>| side.dims().iter().product::<usize>() * side.dtype().size();
        sides.flatten().flatten().map(size).sum()
    }

    /// The first layer that holds a number that is not finite, for finding where it came from.
    pub fn first_damaged_layer(&self) -> Option<usize> {
        let damaged = |side: &Tensor<3>| {
            // 0 for each finite number, NaN for others.
            let sum = (side.clone() * 0.0).sum();
            !sum.into_scalar::<f32>().is_finite()
        };
        let damaged = |layer: &LayerCache| {
            let own = layer.own();
            let sides = [layer.prefix.as_ref(), own.as_ref()];
            sides.into_iter().flatten().flatten().any(damaged)
        };
        self.layers.iter().position(damaged)
    }

    /// Turns prompts (groups of one row) into prefixes, to be shared by any number of rows.
    ///
    /// A cache that holds a prefix already is returned as it is.
    #[must_use]
    pub fn into_prefix(self) -> Self {
        let layers = self.layers.into_iter().map(|layer| match layer.prefix {
            Some(_) => layer,
            None => LayerCache {
                prefix: layer.own(),
                ..LayerCache::default()
            },
        });
        Self {
            layers: layers.collect(),
        }
    }

    /// The cache with each layer's prefix and own tokens, which lie along the first axis, picked.
    pub(crate) fn pick(
        &self,
        prefix: impl Fn(&Tensor<3>) -> Tensor<3>,
        own: impl Fn(&Tensor<3>) -> Tensor<3>,
    ) -> Self {
        let layers = self.layers.iter().map(|layer| LayerCache {
            prefix: layer
                .prefix
                .as_ref()
                .map(|pair| pair.each_ref().map(&prefix)),
            own: layer.own.as_ref().map(|pair| pair.each_ref().map(&own)),
            len: layer.len,
        });
        Self {
            layers: layers.collect(),
        }
    }
}
