//! The softmax in LibTorch's operators, with its mask made on the device.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use tch::Tensor as Native;

use super::mask::Mask;
use super::op::MaskedSoftmax;
use crate::forms::Fused;
use crate::libtorch::{self, LibTorch, Torch};

impl Fused<LibTorch, 1> for MaskedSoftmax {
    type Saved = Torch;

    fn forward(&self, [scores]: [Torch; 1]) -> Torch {
        let kind = scores.tensor.kind();
        let size = scores.tensor.size();
        let columns = size.last().copied().unwrap_or(1);
        let (len, past) = match self.0 {
            Mask::Causal { len, past } => (len as i64, past as i64),
            // A row that sees all, however many there are.
            Mask::Full => (1, columns),
        };
        if len == 1 && past + 1 >= columns {
            return libtorch::fresh(scores.tensor.softmax(-1, kind));
        }
        let options = (kind, scores.tensor.device());
        let mut unseen = Native::full([len, columns], f64::NEG_INFINITY, options);
        let _ = unseen.triu_(past + 1);
        let scores = scores.tensor.reshape([-1, len, columns]) + unseen;
        libtorch::fresh(scores.softmax(-1, kind).view(size.as_slice()))
    }

    fn forward_saving(&self, inputs: [Torch; 1]) -> (Torch, Torch) {
        let output = Fused::<LibTorch, 1>::forward(self, inputs);
        (output.clone(), output)
    }

    fn backward(&self, output: Torch, grad: Torch, _: [bool; 1]) -> [Option<Torch>; 1] {
        let kind = output.tensor.kind();
        let (grad, output) = (grad.tensor, output.tensor);
        let d_scores = Native::internal_softmax_backward_data(&grad, &output, -1, kind);
        [Some(libtorch::fresh(d_scores))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::masked_softmax;
    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::{compare, has_form};

    #[test]
    fn equals_the_plain_form() {
        for (seed, groups, len, past) in [(1, 3, 1, 7), (2, 2, 5, 0), (3, 4, 8, 30), (4, 1, 1, 0)] {
            let shape = (groups * len, past + len, 6.0);
            for mask in [Mask::Full, Mask::Causal { len, past }] {
                compare(
                    [shape],
                    seed,
                    |[x]| masked_softmax(x, mask),
                    |[x]| plain::masked_softmax(x, mask),
                );
                has_form(&MaskedSoftmax(mask), [(groups * len, past + len)]);
            }
        }
    }
}
