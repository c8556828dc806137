//! The rotation in a kernel of cubecl.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use cubecl::prelude::*;

use super::table::RotationTable;
use crate::cube::launch::{self, WIDTH};
use crate::cube::{self, Cube, CubeTensor, element, fresh, rows};
use crate::forms::Fused;

/// `x cos + (halves of x swapped) sin` for each head of rows.
#[cube(launch)]
fn rotate<E: Float, T: Float>(
    x: &Tensor<E>,
    cos: &Tensor<T>,
    sin: &Tensor<T>,
    y: &mut Tensor<E>,
    half: usize,
    #[define(E, T)] _formats: [ElemType; 2],
) {
    let columns = x.shape(1);
    let numbers = x.shape(0) * columns;
    let dim = 2 * half;
    let mut at = ABSOLUTE_POS;
    while at < numbers {
        let (row, column) = (at / columns, at % columns);
        let place = column % dim;
        let mut other = column + half;
        if place >= half {
            other = column - half;
        }
        let start = row * x.stride(0);
        let (cos, sin) = (
            f32::cast_from(cos[row * dim + place]),
            f32::cast_from(sin[row * dim + place]),
        );
        let own = f32::cast_from(x[start + column]);
        y[at] = E::cast_from(own * cos + f32::cast_from(x[start + other]) * sin);
        at += CUBE_COUNT as usize * WIDTH;
    }
}

impl RotationTable {
    /// Cosines and signed sines for turning numbers of a format forwards or `back`, on the device of
    /// `x`.
    pub(crate) fn sides(&self, x: &CubeTensor, dtype: DType, back: bool) -> [CubeTensor; 2] {
        let device = cube::wrap::<1>(x.clone()).device();
        let [cos, sin, reverse] = self.tensors_for(&device, dtype).clone();
        let sin = if back { reverse } else { sin };
        [cos, sin].map(|side| cube::in_order(cube::unwrap(side)))
    }

    fn turned_heads(&self, x: CubeTensor, back: bool) -> CubeTensor {
        let shape = x.shape();
        let [cos, sin] = self.sides(&x, x.dtype, back);
        let y = fresh(&x, &shape, x.dtype);
        let formats = [element(&y), element(&cos)];
        rotate::launch(
            &y.client,
            launch::cubes_of_units(shape.num_elements()),
            launch::cube(),
            rows(x).into_tensor_arg(),
            cos.into_tensor_arg(),
            sin.into_tensor_arg(),
            y.clone().into_tensor_arg(),
            self.half(),
            formats,
        );
        y
    }
}

impl Fused<Cube, 1> for RotationTable {
    type Saved = ();

    fn forward(&self, [x]: [CubeTensor; 1]) -> CubeTensor {
        self.turned_heads(x, false)
    }

    fn forward_saving(&self, inputs: [CubeTensor; 1]) -> (CubeTensor, ()) {
        (Fused::<Cube, 1>::forward(self, inputs), ())
    }

    fn backward(&self, (): (), grad: CubeTensor, _: [bool; 1]) -> [Option<CubeTensor>; 1] {
        [Some(self.turned_heads(grad, true))]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::plain;
    use super::*;
    use crate::cube::testing::{compare, has_form};
    use crate::testing::numbers;

    fn check(seed: u64, tokens: usize, heads: usize, half: usize) {
        // The tensors of a table stay on the device that asked first.
        let table = || RotationTable::new(&numbers(seed, tokens * half, 20.0), half);
        let shape = (tokens, heads * 2 * half, 3.0);
        compare(
            [shape],
            seed,
            |[x]| table().apply(x),
            |[x]| plain::rotate(&table(), x),
        );
        has_form::<1, _>(&table(), |_| vec![tokens, heads * 2 * half]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, tokens in 1usize..30, heads in 1usize..5, half in 1usize..20,
        ) {
            check(seed, tokens, heads, half);
        }
    }

    #[test]
    fn tensors_of_all_sizes() {
        for (tokens, heads, half) in [(1, 1, 1), (257, 1, 1), (3, 12, 64), (70, 3, 5)] {
            check(5, tokens, heads, half);
        }
    }
}
