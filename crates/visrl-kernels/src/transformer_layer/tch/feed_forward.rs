//! Feed-forward parts.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use tch::Tensor as Native;

use super::dense::{dense, dense_onto, gradients};
use crate::libtorch::{self, Torch};
use crate::transformer_layer::weights::FeedForward;

/// What the gradient needs beside the rows that came in.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    weights: FeedForward<Torch, Torch>,
    /// What the activation takes, or gate and up.
    taken: Vec<Torch>,
    inner: Torch,
}

/// What the part makes of rows, added to `onto`.
pub(super) fn feed_forward(
    x: &Native,
    weights: &FeedForward<Torch, Torch>,
    onto: &Native,
    keep: bool,
) -> (Native, Option<Saved>) {
    let (taken, inner, output) = match weights {
        FeedForward::Plain(activation, [first, second]) => {
            let mut taken = dense(x, first);
            activation.prepare(&mut taken);
            let inner = activation.activate(&taken);
            let output = dense_onto(onto, &inner, second);
            (vec![taken], inner, output)
        }
        FeedForward::Gated([gate, up, down]) => {
            let (gate, up) = (dense(x, gate), dense(x, up));
            let mut inner = gate.silu();
            let _ = inner.g_mul_(&up);
            let output = dense_onto(onto, &inner, down);
            (vec![gate, up], inner, output)
        }
    };
    let saved = keep.then(|| Saved {
        weights: weights.clone(),
        taken: taken.into_iter().map(libtorch::fresh).collect(),
        inner: libtorch::fresh(inner),
    });
    (output, saved)
}

impl Saved {
    /// The gradients of the rows that came in and of the weights that are wanted.
    pub(super) fn backward(
        &self,
        x: &Native,
        grad: &Native,
        wanted: &FeedForward<bool, bool>,
    ) -> (Native, FeedForward<Option<Torch>, Option<Torch>>) {
        let inner = &self.inner.tensor;
        match (&self.weights, wanted, self.taken.as_slice()) {
            (
                FeedForward::Plain(activation, [first, second]),
                FeedForward::Plain(_, of),
                [taken],
            ) => {
                let of_second = gradients(&of[1], inner, grad);
                let d_inner = grad.mm(&second.weight.tensor.tr());
                let d_taken = activation.back(&taken.tensor, &d_inner);
                let of_first = gradients(&of[0], x, &d_taken);
                let d_x = d_taken.mm(&first.weight.tensor.tr());
                (d_x, FeedForward::Plain(*activation, [of_first, of_second]))
            }
            (FeedForward::Gated([gate, up, down]), FeedForward::Gated(of), [of_gate, of_up]) => {
                let of_down = gradients(&of[2], inner, grad);
                let mut d_gate = grad.mm(&down.weight.tensor.tr());
                let d_up = &d_gate * of_gate.tensor.silu();
                let _ = d_gate.g_mul_(&of_up.tensor);
                let d_gate = of_gate.tensor.silu_backward(&d_gate);
                let found = [(&of[0], &d_gate), (&of[1], &d_up)];
                let [of_gate, of_up] = found.map(|(of, grad)| gradients(of, x, grad));
                let mut d_x = d_up.mm(&up.weight.tensor.tr());
                let _ = d_x.addmm_(&d_gate, &gate.weight.tensor.tr());
                (d_x, FeedForward::Gated([of_gate, of_up, of_down]))
            }
            _ => unreachable!("gradients of another kind of part are wanted"),
        }
    }
}
