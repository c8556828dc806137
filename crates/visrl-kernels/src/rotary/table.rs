use std::sync::{Arc, OnceLock};

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::half::is_half;

/// Cosines and sines of the angles of each token, `[tokens, half]`.
///
/// The first half of a head's numbers are the first coordinates of its pairs, the second half are
/// the second ones.
#[derive(Clone, Debug)]
pub struct RotationTable {
    angles: Arc<Angles>,
}

#[derive(Debug)]
struct Angles {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
    /// Cosines, sines and sines backwards, `[tokens, 1, 2 half]`, plain; made when tensor operations
    /// ask.
    tensors: OnceLock<[Tensor<3>; 3]>,
    /// The same in the format of what is turned, where that has 16 bits.
    rounded: OnceLock<[Tensor<3>; 3]>,
}

impl RotationTable {
    /// By these angles, `[tokens, half]`.
    pub fn new(angles: &[f32], half: usize) -> Self {
        let angles = Angles {
            cos: angles.iter().map(|angle| angle.cos()).collect(),
            sin: angles.iter().map(|angle| angle.sin()).collect(),
            half,
            tensors: OnceLock::new(),
            rounded: OnceLock::new(),
        };
        Self {
            angles: Arc::new(angles),
        }
    }

    /// The bytes that its tensors take in f32.
    pub fn bytes(&self) -> usize {
        6 * size_of_val(self.angles.cos.as_slice())
    }

    /// Pairs of a head.
    pub(crate) fn half(&self) -> usize {
        self.angles.half
    }

    /// Cosines and sines, `[tokens, half]` each.
    #[cfg(feature = "flex")]
    #[inline(always)]
    pub(crate) fn values(&self) -> [&[f32]; 2] {
        [&self.angles.cos, &self.angles.sin]
    }

    /// Cosines, sines of which those of the first half are negated, and the same sines negated,
    /// `[tokens, 1, 2 half]` each, plain, on the device that asked first.
    pub(crate) fn tensors(&self, device: &Device) -> &[Tensor<3>; 3] {
        let Angles { cos, sin, half, .. } = &*self.angles;
        self.angles.tensors.get_or_init(|| {
            let shape = [cos.len() / half.max(&1), 1, *half];
            let [cos, sin] = [cos, sin].map(|values| {
                let values = TensorData::new(values.clone(), shape);
                Tensor::<3>::from_data(values, device).without_autodiff()
            });
            let back = sin.clone().neg();
            let pair = |left: &Tensor<3>, right: &Tensor<3>| {
                Tensor::cat(vec![left.clone(), right.clone()], 2)
            };
            [pair(&cos, &cos), pair(&back, &sin), pair(&sin, &back)]
        })
    }

    /// The same for turning numbers of a format. Numbers of 16 bits are turned by angles rounded to
    /// their own format, as transformers turns the heads of a decoder; others by these in f32.
    pub(crate) fn tensors_for(&self, device: &Device, dtype: DType) -> &[Tensor<3>; 3] {
        let tables = self.tensors(device);
        match is_half(dtype) {
            true => self.angles.rounded.get_or_init(|| {
                let round = |table: Tensor<3>| table.cast(dtype);
                tables.clone().map(round)
            }),
            false => tables,
        }
    }
}
