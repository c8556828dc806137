//! Norms of rows, by their root mean square or by mean and variance, and their gradients.
#![allow(clippy::too_many_arguments)] // Those of kernels are what they bind.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use cubecl::prelude::*;

use super::launch::{self, WIDTH};
use super::reduce::cube_sum;
use super::tensors::{CubeTensor, element, fresh, in_order, rows};

/// Columns that a cube sums over rows.
const COLUMNS: usize = 32;

/// Rows that it adds up at a time.
const LANES: usize = WIDTH / COLUMNS;

/// Cubes that the rows of one column are divided among at most.
const PARTS: usize = 64;

/// `(x - mean) scale gamma + beta` for each row, and the row's mean and scale. Without `centered`
/// the mean is 0 and so is beta, and rows of 16 bits are rounded before the weights multiply them.
#[cube(launch)]
fn standardize<E: Float, W: Float>(
    x: &Tensor<E>,
    gamma: &Tensor<W>,
    beta: &Tensor<W>,
    y: &mut Tensor<E>,
    moments: &mut Tensor<f32>,
    epsilon: f32,
    #[comptime] centered: bool,
    #[define(E, W)] _formats: [ElemType; 2],
) {
    let columns = x.shape(1);
    let mut row = CUBE_POS;
    while row < x.shape(0) {
        let start = row * x.stride(0);
        let mut mean = 0.0f32;
        if centered {
            let mut sum = 0.0f32;
            let mut column = UNIT_POS as usize;
            while column < columns {
                sum += f32::cast_from(x[start + column]);
                column += WIDTH;
            }
            mean = cube_sum(sum) / f32::cast_from(columns as u32);
        }
        let mut squares = 0.0f32;
        let mut column = UNIT_POS as usize;
        while column < columns {
            let from_mean = f32::cast_from(x[start + column]) - mean;
            squares += from_mean * from_mean;
            column += WIDTH;
        }
        let variance = cube_sum(squares) / f32::cast_from(columns as u32);
        let scale = 1.0f32 / (variance + epsilon).sqrt();
        let mut column = UNIT_POS as usize;
        while column < columns {
            let standard = (f32::cast_from(x[start + column]) - mean) * scale;
            let weight = f32::cast_from(gamma[column]);
            let at = row * columns + column;
            if centered {
                y[at] = E::cast_from(standard * weight + f32::cast_from(beta[column]));
            } else {
                let rounded = f32::cast_from(E::cast_from(standard));
                y[at] = E::cast_from(rounded * weight);
            }
            column += WIDTH;
        }
        if UNIT_POS == 0 {
            moments[2 * row] = mean;
            moments[2 * row + 1] = scale;
        }
        row += CUBE_COUNT as usize;
    }
}

/// With z the standardized row and e = d y gamma, `d x = scale (e - mean(e) - z mean(e z))`; without
/// `centered`, without the mean of e.
#[cube(launch)]
fn standardize_backward<E: Float, W: Float>(
    x: &Tensor<E>,
    gamma: &Tensor<W>,
    moments: &Tensor<f32>,
    grad: &Tensor<E>,
    d_x: &mut Tensor<E>,
    #[comptime] centered: bool,
    #[define(E, W)] _formats: [ElemType; 2],
) {
    let columns = x.shape(1);
    let mut row = CUBE_POS;
    while row < x.shape(0) {
        let start = row * x.stride(0);
        let of_grad = row * grad.stride(0);
        let mean = moments[2 * row];
        let scale = moments[2 * row + 1];
        let mut sum = 0.0f32;
        let mut products = 0.0f32;
        let mut column = UNIT_POS as usize;
        while column < columns {
            let standard = (f32::cast_from(x[start + column]) - mean) * scale;
            let e = f32::cast_from(grad[of_grad + column]) * f32::cast_from(gamma[column]);
            sum += e;
            products += e * standard;
            column += WIDTH;
        }
        let number = f32::cast_from(columns as u32);
        let along = cube_sum(products) / number;
        let mut shift = 0.0f32;
        if centered {
            shift = cube_sum(sum) / number;
        }
        let mut column = UNIT_POS as usize;
        while column < columns {
            let standard = (f32::cast_from(x[start + column]) - mean) * scale;
            let e = f32::cast_from(grad[of_grad + column]) * f32::cast_from(gamma[column]);
            d_x[row * columns + column] = E::cast_from(scale * (e - shift - standard * along));
            column += WIDTH;
        }
        row += CUBE_COUNT as usize;
    }
}

/// Sums of d y z and of d y over a part of the rows, `[parts, 2 columns]`.
#[cube(launch)]
fn weight_gradient_parts<E: Float>(
    x: &Tensor<E>,
    moments: &Tensor<f32>,
    grad: &Tensor<E>,
    parts: &mut Tensor<f32>,
    #[define(E)] _format: ElemType,
) {
    let columns = x.shape(1);
    let lane = UNIT_POS as usize / COLUMNS;
    let own = UNIT_POS as usize % COLUMNS;
    let mut of_gamma = Shared::<[f32]>::new_slice(WIDTH);
    let mut of_beta = Shared::<[f32]>::new_slice(WIDTH);
    let per_part = x.shape(0).div_ceil(CUBE_COUNT_Y as usize);
    let first = per_part * CUBE_POS_Y as usize;
    let mut end = first + per_part;
    if end > x.shape(0) {
        end = x.shape(0);
    }
    let mut block = CUBE_POS_X as usize;
    while block * COLUMNS < columns {
        let column = block * COLUMNS + own;
        let mut scaled = 0.0f32;
        let mut plain = 0.0f32;
        if column < columns {
            let mut row = first + lane;
            while row < end {
                let mean = moments[2 * row];
                let scale = moments[2 * row + 1];
                let d = f32::cast_from(grad[row * grad.stride(0) + column]);
                let standard = (f32::cast_from(x[row * x.stride(0) + column]) - mean) * scale;
                scaled += d * standard;
                plain += d;
                row += LANES;
            }
        }
        of_gamma[UNIT_POS as usize] = scaled;
        of_beta[UNIT_POS as usize] = plain;
        sync_cube();
        if lane == 0 && column < columns {
            let mut scaled = 0.0f32;
            let mut plain = 0.0f32;
            for other in 0..LANES {
                scaled += of_gamma[other * COLUMNS + own];
                plain += of_beta[other * COLUMNS + own];
            }
            let at = CUBE_POS_Y as usize * 2 * columns + column;
            parts[at] = scaled;
            parts[at + columns] = plain;
        }
        sync_cube();
        block += CUBE_COUNT_X as usize;
    }
}

/// The sum over rows of the columns from `offset`, as many as `sums` has.
#[cube(launch)]
fn sum_of_rows<W: Float>(
    parts: &Tensor<f32>,
    sums: &mut Tensor<W>,
    offset: usize,
    #[define(W)] _format: ElemType,
) {
    let mut column = ABSOLUTE_POS;
    while column < sums.shape(0) {
        let mut sum = 0.0f32;
        for row in 0..parts.shape(0) {
            sum += parts[row * parts.stride(0) + offset + column];
        }
        sums[column] = W::cast_from(sum);
        column += CUBE_COUNT as usize * WIDTH;
    }
}

/// What the gradient needs: rows, weights, and means and scales, `[rows, 2]`.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    x: CubeTensor,
    gamma: CubeTensor,
    moments: CubeTensor,
}

/// The norm of rows `x` with weights, by mean and variance where there are biases.
pub(crate) fn forward(
    x: CubeTensor,
    gamma: CubeTensor,
    beta: Option<CubeTensor>,
    epsilon: f64,
) -> (CubeTensor, Saved) {
    let shape = x.shape();
    let (x, gamma) = (rows(x), in_order(gamma));
    let count = x.meta.shape()[0];
    let y = fresh(&x, &shape, x.dtype);
    let moments = fresh(&x, &[count, 2], DType::F32);
    let centered = beta.is_some();
    let beta = beta.map_or_else(|| gamma.clone(), in_order);
    standardize::launch(
        &x.client,
        launch::cubes(count),
        launch::cube(),
        x.clone().into_tensor_arg(),
        gamma.clone().into_tensor_arg(),
        beta.into_tensor_arg(),
        y.clone().into_tensor_arg(),
        moments.clone().into_tensor_arg(),
        epsilon as f32,
        centered,
        [element(&x), element(&gamma)],
    );
    (y, Saved { x, gamma, moments })
}

/// The gradients of rows and weights, and of biases where the norm is `centered`; those of weights
/// and biases where they are `wanted`.
pub(crate) fn backward(
    saved: Saved,
    grad: CubeTensor,
    centered: bool,
    wanted: [bool; 2],
) -> (CubeTensor, [Option<CubeTensor>; 2]) {
    let Saved { x, gamma, moments } = saved;
    let shape = grad.shape();
    let grad = rows(grad);
    let (count, columns) = (x.meta.shape()[0], x.meta.shape()[1]);
    let d_x = fresh(&x, &shape, x.dtype);
    standardize_backward::launch(
        &x.client,
        launch::cubes(count),
        launch::cube(),
        x.clone().into_tensor_arg(),
        gamma.clone().into_tensor_arg(),
        moments.clone().into_tensor_arg(),
        grad.clone().into_tensor_arg(),
        d_x.clone().into_tensor_arg(),
        centered,
        [element(&x), element(&gamma)],
    );
    if !wanted.contains(&true) {
        return (d_x, [None, None]);
    }
    let parts = count.div_ceil(4 * LANES).clamp(1, PARTS);
    let sums = fresh(&x, &[parts, 2 * columns], DType::F32);
    weight_gradient_parts::launch(
        &x.client,
        launch::cubes_of_pairs(columns.div_ceil(COLUMNS), parts),
        launch::cube(),
        x.clone().into_tensor_arg(),
        moments.into_tensor_arg(),
        grad.into_tensor_arg(),
        sums.clone().into_tensor_arg(),
        element(&x),
    );
    let sum = |wanted: bool, offset: usize| {
        wanted.then(|| {
            let sum = fresh(&x, &[columns], gamma.dtype);
            sum_of_rows::launch(
                &x.client,
                launch::cubes_of_units(columns),
                launch::cube(),
                sums.clone().into_tensor_arg(),
                sum.clone().into_tensor_arg(),
                offset,
                element(&sum),
            );
            sum
        })
    };
    (d_x, [sum(wanted[0], 0), sum(wanted[1], columns)])
}
