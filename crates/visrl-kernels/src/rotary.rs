//! Turning pairs of numbers by tables of angles.

use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor, TensorData};

#[cfg(feature = "flex")]
use super::{
    flex::{self, Fused, Host},
    slices,
};

/// Cosines and sines of the angles of each token, `[tokens, half]`.
///
/// The first half of a head's numbers are the first coordinates of its pairs, the second half are
/// the second ones.
#[derive(Clone, Debug)]
pub struct Turn {
    table: Arc<Table>,
}

#[derive(Debug)]
struct Table {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
    /// Both, repeated over the two halves, `[tokens, 1, 2 half]`; made when tensor operations ask.
    tensors: OnceLock<[Tensor<3>; 2]>,
}

impl Turn {
    /// By these angles, `[tokens, half]`.
    pub fn new(angles: &[f32], half: usize) -> Self {
        let table = Table {
            cos: angles.iter().map(|angle| angle.cos()).collect(),
            sin: angles.iter().map(|angle| angle.sin()).collect(),
            half,
            tensors: OnceLock::new(),
        };
        Self {
            table: Arc::new(table),
        }
    }

    /// Turns the heads of `x`, `[tokens, heads * 2 half]`.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        #[cfg(feature = "flex")]
        {
            let op = Rotate(self.clone());
            match flex::run(&op, [x.into_dispatch()]) {
                Ok(output) => output,
                Err([x]) => self.plain(Tensor::from_dispatch(x)),
            }
        }
        #[cfg(not(feature = "flex"))]
        self.plain(x)
    }

    /// The same in tensor operations.
    pub(super) fn plain(&self, x: Tensor<2>) -> Tensor<2> {
        let [tokens, width] = x.dims();
        let half = self.table.half;
        let [cos, sin] = self
            .tensors(&x.device())
            .clone()
            .map(|table| table.cast(x.dtype()));
        let x = x.reshape([tokens, width / (2 * half), 2 * half]);
        let left = x.clone().narrow(2, 0, half);
        let right = x.clone().narrow(2, half, half);
        let turned = Tensor::cat(vec![right.neg(), left], 2);
        (x * cos + turned * sin).reshape([tokens, width])
    }

    fn tensors(&self, device: &Device) -> &[Tensor<3>; 2] {
        let Table { half, .. } = *self.table;
        self.table.tensors.get_or_init(|| {
            [&self.table.cos, &self.table.sin].map(|values| {
                let twice: Vec<f32> = values
                    .chunks(half)
                    .flat_map(|row| [row, row])
                    .flatten()
                    .copied()
                    .collect();
                let tokens = values.len() / half.max(1);
                Tensor::from_data(TensorData::new(twice, [tokens, 1, 2 * half]), device)
            })
        })
    }

    /// Turns rows in place, backwards where `sign` is -1.
    #[cfg(feature = "flex")]
    fn turn(&self, mut x: Host, sign: f32) -> Host {
        let width = flex::width(&x);
        slices::rows1(
            width,
            x.storage_mut(),
            #[inline(always)]
            |first, rows| {
                for (token, row) in (first..).zip(rows.chunks_exact_mut(width)) {
                    self.turn_row(token, row, sign);
                }
            },
        );
        x
    }

    /// Turns the heads of one token.
    #[cfg(feature = "flex")]
    #[inline(always)]
    pub(super) fn turn_row(&self, token: usize, row: &mut [f32], sign: f32) {
        let Table { cos, sin, half, .. } = &*self.table;
        let half = *half;
        let cos = &cos[token * half..][..half];
        let sin = &sin[token * half..][..half];
        for head in row.chunks_exact_mut(2 * half) {
            let (left, right) = head.split_at_mut(half);
            let pairs = left.iter_mut().zip(right).zip(cos.iter().zip(sin));
            for ((left, right), (cos, sin)) in pairs {
                let (a, b, sin) = (*left, *right, sign * sin);
                *left = a * cos - b * sin;
                *right = b * cos + a * sin;
            }
        }
    }
}

#[cfg(feature = "flex")]
#[derive(Clone, Debug)]
struct Rotate(Turn);

#[cfg(feature = "flex")]
impl Fused<1> for Rotate {
    type Saved = ();

    fn forward(&self, [x]: [Host; 1]) -> Host {
        self.0.turn(flex::owned(x), 1.0)
    }

    fn forward_saving(&self, inputs: [Host; 1]) -> (Host, ()) {
        (self.forward(inputs), ())
    }

    fn backward(&self, (): (), grad: Host, _: [bool; 1]) -> [Host; 1] {
        [self.0.turn(flex::owned(grad), -1.0)]
    }
}
