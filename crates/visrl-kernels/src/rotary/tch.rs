//! The rotation in LibTorch's operators, in place.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::backend::TensorMetadata;

use super::table::RotationTable;
use crate::forms::Fused;
use crate::libtorch::{self, LibTorch, Torch};

impl RotationTable {
    /// Turns rows in place, backwards where asked to.
    fn turn_heads(&self, x: Torch, backwards: bool) -> Torch {
        let x = libtorch::owned(x);
        let dim = 2 * self.half() as i64;
        let tables = self.tensors_for(&libtorch::device(&x), x.dtype()).clone();
        let [cos, forth, back] = tables.map(|table| libtorch::unwrap(table).tensor);
        let sin = if backwards { back } else { forth };
        let mut heads = x.tensor.view([cos.size()[0], -1, dim]);
        let swapped = heads.roll([dim / 2], [-1]);
        let _ = heads.g_mul_(&cos);
        let _ = heads.addcmul_(&swapped, &sin);
        x
    }
}

impl Fused<LibTorch, 1> for RotationTable {
    type Saved = ();

    fn forward(&self, [x]: [Torch; 1]) -> Torch {
        self.turn_heads(x, false)
    }

    fn forward_saving(&self, inputs: [Torch; 1]) -> (Torch, ()) {
        (Fused::<LibTorch, 1>::forward(self, inputs), ())
    }

    fn backward(&self, (): (), grad: Torch, _: [bool; 1]) -> [Option<Torch>; 1] {
        [Some(self.turn_heads(grad, true))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::{compare, has_form};
    use crate::testing::numbers;

    #[test]
    fn equals_the_plain_form() {
        for (seed, tokens, heads, half) in [(1, 1, 1, 1), (2, 7, 3, 5), (3, 20, 4, 16)] {
            // The tensors of a table stay on the device that asked first.
            let table = || RotationTable::new(&numbers(seed, tokens * half, 20.0), half);
            let shape = (tokens, heads * 2 * half, 3.0);
            compare(
                [shape],
                seed,
                |[x]| table().apply(x),
                |[x]| plain::rotate(&table(), x),
            );
            has_form(&table(), [(tokens, heads * 2 * half)]);
        }
    }
}
