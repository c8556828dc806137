//! The rotation in tensor operations.

use burn::tensor::Tensor;

use super::table::RotationTable;

pub(crate) fn rotate(table: &RotationTable, x: Tensor<2>) -> Tensor<2> {
    let [tokens, width] = x.dims();
    let half = table.half();
    let [cos, sin, _] = table
        .tensors_for(&x.device(), x.dtype())
        .clone()
        .map(|table| table.cast(x.dtype()));
    let x = x.reshape([tokens, width / (2 * half), 2 * half]);
    let left = x.clone().narrow(2, 0, half);
    let right = x.clone().narrow(2, half, half);
    let swapped = Tensor::cat(vec![right, left], 2);
    (x * cos + swapped * sin).reshape([tokens, width])
}
