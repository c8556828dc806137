//! The gated activation of the decoder's MLP.

use burn::tensor::Tensor;
use burn::tensor::activation::silu;

#[cfg(feature = "flex")]
use super::{
    exp::sigmoid,
    flex::{self, Fused, Host},
    slices,
};

/// `silu(gate) * up`, with `silu(x) = x sigmoid(x)`, for tensors of one shape.
pub fn silu_mul<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    {
        match flex::run(&SiluMul, [gate.into_dispatch(), up.into_dispatch()]) {
            Ok(output) => output,
            Err(inputs) => {
                let [gate, up] = inputs.map(Tensor::from_dispatch);
                plain(gate, up)
            }
        }
    }
    #[cfg(not(feature = "flex"))]
    plain(gate, up)
}

/// The same in tensor operations.
pub(super) fn plain<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    silu(gate) * up
}

#[cfg(feature = "flex")]
#[derive(Clone, Debug)]
struct SiluMul;

#[cfg(feature = "flex")]
impl Fused<2> for SiluMul {
    type Saved = [Host; 2];

    fn forward(&self, [gate, up]: [Host; 2]) -> Host {
        let mut gate = flex::owned(gate);
        let up = flex::in_order(up);
        slices::rows2(
            1,
            gate.storage_mut(),
            flex::read(&up),
            #[inline(always)]
            |_, gate, up| {
                for (gate, up) in gate.iter_mut().zip(up) {
                    *gate = *gate * sigmoid(*gate) * up;
                }
            },
        );
        gate
    }

    fn forward_saving(&self, inputs: [Host; 2]) -> (Host, [Host; 2]) {
        let saved = inputs.clone();
        (self.forward(inputs), saved)
    }

    /// With s the sigmoid of the gate g, `d up = d g s` and `d gate = d up s (1 + g (1 - s))`.
    fn backward(&self, [gate, up]: [Host; 2], grad: Host, _: [bool; 2]) -> [Host; 2] {
        let (mut gate, mut up) = (flex::owned(gate), flex::owned(up));
        let grad = flex::in_order(grad);
        let (gates, ups) = (gate.storage_mut(), up.storage_mut());
        slices::rows3(
            1,
            gates,
            ups,
            flex::read(&grad),
            #[inline(always)]
            |_, gate, up, grad| {
                for ((gate, up), grad) in gate.iter_mut().zip(up).zip(grad) {
                    let s = sigmoid(*gate);
                    let d_gate = grad * *up * s * (1.0 + *gate * (1.0 - s));
                    *up = grad * *gate * s;
                    *gate = d_gate;
                }
            },
        );
        [gate, up]
    }
}
