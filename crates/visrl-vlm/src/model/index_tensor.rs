//! Indices on a device.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Indices as a tensor, `[values]`.
pub(crate) fn index_tensor(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}
