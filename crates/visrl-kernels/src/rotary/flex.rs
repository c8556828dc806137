//! The rotation over slices.

use burn::backend::Flex;

use super::table::RotationTable;
use crate::flex::{self, Host};
use crate::forms::Fused;
use crate::parallel;

impl RotationTable {
    /// Turns rows in place, backwards where `sign` is -1.
    fn turn(&self, mut x: Host, sign: f32) -> Host {
        let width = flex::width(&x);
        parallel::for_rows(
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
    #[inline(always)]
    pub(crate) fn turn_row(&self, token: usize, row: &mut [f32], sign: f32) {
        let half = self.half();
        let [cos, sin] = self.values().map(|values| &values[token * half..][..half]);
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

impl Fused<Flex, 1> for RotationTable {
    type Saved = ();

    fn forward(&self, [x]: [Host; 1]) -> Host {
        self.turn(flex::owned(x), 1.0)
    }

    fn forward_saving(&self, inputs: [Host; 1]) -> (Host, ()) {
        (Fused::<Flex, 1>::forward(self, inputs), ())
    }

    fn backward(&self, (): (), grad: Host, _: [bool; 1]) -> [Option<Host>; 1] {
        [Some(self.turn(flex::owned(grad), -1.0))]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::plain;
    use super::*;
    use crate::testing::{compare, has_form, numbers};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, tokens in 1usize..30, heads in 1usize..5, half in 1usize..20,
        ) {
            // The tensors of a table stay on the device that asked first.
            let table = || RotationTable::new(&numbers(seed, tokens * half, 20.0), half);
            let shape = (tokens, heads * 2 * half, 3.0);
            compare([shape], seed, 2e-6, |[x]| table().apply(x), |[x]| plain::rotate(&table(), x));
            has_form(&table(), [(tokens, heads * 2 * half)]);
        }
    }
}
