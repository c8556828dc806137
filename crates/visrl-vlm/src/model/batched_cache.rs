//! Keys and values of rows that are decoded together, each with a prefix of its own length.

use std::ops::Range;

use burn::tensor::{DType, Device, Tensor};

use super::index_tensor::index_tensor;
use super::kv_cache::KvCache;

/// Keys and values of a number of rows, which have as many tokens as they have.
///
/// One tensor a layer, `[rows, capacity, 2 kv heads * dim]`, keys before values. The prefix that the
/// rows of a group share is repeated for each of them, so that one product reaches all that a row
/// sees. How many tokens a row has is known to the one who decodes; beyond them the numbers mean
/// nothing, but are finite as long as the model's are.
#[derive(Clone, Debug)]
pub struct BatchedCache {
    /// Nothing while a layer's tensor is worked on.
    layers: Vec<Option<Tensor<3>>>,
    rows: usize,
    capacity: usize,
    width: usize,
    dtype: DType,
    device: Device,
}

impl BatchedCache {
    /// A cache without rows, for `layers` layers with keys and values of `width` numbers a token
    /// together.
    pub fn new(layers: usize, width: usize, dtype: DType, device: &Device) -> Self {
        Self {
            layers: vec![None; layers],
            rows: 0,
            capacity: 0,
            width,
            dtype,
            device: device.clone(),
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of tokens that each row has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The format of keys and values.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Keeps these rows, in this order, as the first of `rows`, with room for `capacity` tokens
    /// each; the others hold zeros.
    ///
    /// # Panics
    /// When more rows are kept than there will be.
    pub fn arrange(&mut self, keep: &[usize], rows: usize, capacity: usize) {
        assert!(keep.len() <= rows, "{} of {rows} rows are kept", keep.len());
        let in_order = keep.iter().copied().eq(0..keep.len());
        let index = index_tensor(keep.iter().map(|&row| row as i64).collect(), &self.device);
        let shared = self.capacity.min(capacity);
        for layer in &mut self.layers {
            let old = layer.take();
            let new = Tensor::zeros([rows, capacity, self.width], (&self.device, self.dtype));
            *layer = Some(match old.filter(|_| !keep.is_empty()) {
                None => new,
                Some(old) => {
                    let kept = match in_order {
                        true => old.narrow(0, 0, keep.len()),
                        false => old.select(0, index.clone()),
                    };
                    let all = [0..keep.len(), 0..shared, 0..self.width];
                    new.slice_assign(all, kept.narrow(1, 0, shared))
                }
            });
        }
        (self.rows, self.capacity) = (rows, capacity);
    }

    /// Gives rows the prefix of one group as their first tokens.
    ///
    /// # Panics
    /// When the prefix is longer than the capacity or belongs to another model.
    pub fn set_prefix(&mut self, rows: Range<usize>, prefix: &KvCache) {
        let tokens = prefix.prefix_len();
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let (Some(cache), Some(pair)) = (layer.take(), prefix.prefix(index)) else {
                continue;
            };
            let group = Tensor::cat(pair.to_vec(), 2);
            let all = group.expand([rows.len(), tokens, self.width]);
            *layer = Some(cache.slice_assign([rows.clone(), 0..tokens, 0..self.width], all));
        }
    }

    /// Lets a layer's tensor be replaced by what `step` makes of it, with what comes of that.
    ///
    /// # Panics
    /// When there is no such layer, or the cache has no rows.
    pub fn update<T>(&mut self, layer: usize, step: impl FnOnce(Tensor<3>) -> (T, Tensor<3>)) -> T {
        let Some(cache) = self.layers[layer].take() else {
            panic!("layer {layer} of a cache without rows");
        };
        let (result, cache) = step(cache);
        self.layers[layer] = Some(cache);
        result
    }

    /// The first layer whose first `tokens` tokens of a row hold a number that is not finite, for
    /// finding where it came from.
    pub fn first_damaged_layer(&self, row: usize, tokens: usize) -> Option<usize> {
        self.layers.iter().flatten().position(|layer| {
            // 0 for each finite number, NaN for others.
            let own = layer.clone().narrow(0, row, 1).narrow(1, 0, tokens);
            !(own * 0.0).sum().into_scalar::<f32>().is_finite()
        })
    }
}
