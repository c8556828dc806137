//! The softmax over slices.

use burn::backend::Flex;

use super::op::MaskedSoftmax;
use crate::flex::{self, Host};
use crate::forms::Fused;
use crate::simd::exp;
use crate::{parallel, simd};

impl Fused<Flex, 1> for MaskedSoftmax {
    type Saved = Host;

    fn forward(&self, [scores]: [Host; 1]) -> Host {
        let mut scores = flex::owned(scores);
        let columns = flex::width(&scores);
        parallel::for_rows(
            columns,
            scores.storage_mut(),
            #[inline(always)]
            |first, rows| {
                for (row, values) in (first..).zip(rows.chunks_exact_mut(columns)) {
                    let visible = self.0.visible(row, columns);
                    let (seen, hidden) = values.split_at_mut(visible);
                    hidden.fill(0.0);
                    let largest = simd::maximum(seen);
                    let sum = simd::map_and_sum(
                        seen,
                        #[inline(always)]
                        |x| exp(x - largest),
                    );
                    let scale = 1.0 / sum;
                    for x in seen {
                        *x *= scale;
                    }
                }
            },
        );
        scores
    }

    fn forward_saving(&self, inputs: [Host; 1]) -> (Host, Host) {
        let output = Fused::<Flex, 1>::forward(self, inputs);
        (output.clone(), output)
    }

    /// With p the result, `d x = p (d p - sum(p d p))`.
    fn backward(&self, output: Host, grad: Host, _: [bool; 1]) -> [Option<Host>; 1] {
        let mut grad = flex::owned(grad);
        let output = flex::in_order(output);
        let columns = flex::width(&grad);
        parallel::for_rows_with(
            columns,
            grad.storage_mut(),
            flex::read(&output),
            #[inline(always)]
            |first, d, p| {
                let rows = d.chunks_exact_mut(columns).zip(p.chunks_exact(columns));
                for (row, (d, p)) in (first..).zip(rows) {
                    let visible = self.0.visible(row, columns);
                    let (d, hidden) = d.split_at_mut(visible);
                    hidden.fill(0.0);
                    let p = &p[..visible];
                    let dot = simd::sum_of_pairs(
                        d,
                        p,
                        #[inline(always)]
                        |d, p| d * p,
                    );
                    for (d, p) in d.iter_mut().zip(p) {
                        *d = p * (*d - dot);
                    }
                }
            },
        );
        [Some(grad)]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};
    use proptest::prelude::*;

    use super::super::mask::Mask;
    use super::super::op::masked_softmax;
    use super::super::plain;
    use super::*;
    use crate::testing::{compare, has_form, values};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, groups in 1usize..5, len in 1usize..9, past in 0usize..40,
            scale in 0.1f32..30.0,
        ) {
            let shape = (groups * len, past + len, scale);
            for mask in [Mask::Full, Mask::Causal { len, past }] {
                compare([shape], seed, 2e-6, |[x]| masked_softmax(x, mask), |[x]| {
                    plain::masked_softmax(x, mask)
                });
            }
        }
    }

    /// Large enough for several tasks.
    #[test]
    fn large_tensors() {
        has_form(&MaskedSoftmax(Mask::Full), [(3, 4)]);
        compare(
            [(300, 301, 5.0)],
            7,
            4e-6,
            |[x]| masked_softmax(x, Mask::Full),
            |[x]| plain::masked_softmax(x, Mask::Full),
        );
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let x = Tensor::<2>::from_floats([[f32::NAN, 1.0]], &Device::flex());
        let found = values(masked_softmax(x, Mask::Full));
        assert!(found.iter().all(|x| x.is_nan()));
    }
}
