//! Keys and values of earlier tokens.

use burn::tensor::Tensor;

use crate::model::int_tensor;

/// Keys and values of one layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerCache {
    /// Of the prefix that the rows of a group share: keys `[groups, kv_heads, head_dim, prefix]`,
    /// as the products with a few queries read them, and values
    /// `[groups, kv_heads, prefix, head_dim]`.
    pub(crate) prefix: Option<[Tensor<4>; 2]>,
    /// Of each row's own tokens, `[groups, kv_heads, rows, len, head_dim]`.
    pub(crate) own: Option<[Tensor<5>; 2]>,
}

/// Keys and values of the earlier tokens of a [`Segment`](crate::Segment).
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
        prefix.map_or(0, |[_, values]| values.dims()[2])
    }

    /// Tokens that each row has of its own.
    pub fn own_len(&self) -> usize {
        let own = self.layers.first().and_then(|layer| layer.own.as_ref());
        own.map_or(0, |[keys, _]| keys.dims()[3])
    }

    /// Turns prompts (groups of one row) into prefixes, to be shared by any number of rows.
    ///
    /// A cache that holds a prefix already is returned as it is.
    #[must_use]
    pub fn into_prefix(self) -> Self {
        let layers = self.layers.into_iter().map(|layer| match layer {
            LayerCache {
                prefix: None,
                own: Some([keys, values]),
            } => {
                let [groups, heads, rows, len, dim] = keys.dims();
                let keys = keys.permute([0, 1, 4, 2, 3]);
                let keys = keys.reshape([groups, heads, dim, rows * len]);
                let values = values.reshape([groups, heads, rows * len, dim]);
                LayerCache {
                    prefix: Some([keys, values]),
                    own: None,
                }
            }
            other => other,
        });
        Self {
            layers: layers.collect(),
        }
    }

    /// The cache of these groups alone, in this order.
    #[must_use]
    pub fn select_groups(&self, groups: &[usize]) -> Self {
        let layers = self.layers.iter().map(|layer| {
            let prefix = layer
                .prefix
                .clone()
                .map(|pair| pair.map(|t| pick(t, groups)));
            let own = layer.own.clone().map(|pair| pair.map(|t| pick(t, groups)));
            LayerCache { prefix, own }
        });
        Self {
            layers: layers.collect(),
        }
    }
}

fn pick<const D: usize>(tensor: Tensor<D>, groups: &[usize]) -> Tensor<D> {
    let index = int_tensor(groups.iter().map(|&g| g as i64).collect(), &tensor.device());
    tensor.select(0, index)
}
