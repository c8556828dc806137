//! Linear layers that may carry a low-rank adapter.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use visrl_kernels::{linear, linear_onto};

/// `y = x W + b`, plus `scale (x A) B` where an adapter is attached (LoRA, arXiv 2106.09685).
///
/// The adapter works on activations: the sum `W + scale A B` never exists, so a frozen `W` costs
/// no gradient and may be shared with a model without the adapter.
#[derive(Module, Debug)]
pub struct LoraLinear {
    /// `[in, out]`.
    pub(crate) weight: Param<Tensor<2>>,
    /// `[out]`.
    pub(crate) bias: Option<Param<Tensor<1>>>,
    /// `[in, rank]`.
    pub(crate) lora_a: Option<Param<Tensor<2>>>,
    /// `[rank, out]`.
    pub(crate) lora_b: Option<Param<Tensor<2>>>,
    #[module(skip)]
    scale: f64,
}

impl LoraLinear {
    /// A layer without an adapter.
    pub fn new(weight: Param<Tensor<2>>, bias: Option<Param<Tensor<1>>>) -> Self {
        Self {
            weight,
            bias,
            lora_a: None,
            lora_b: None,
            scale: 0.0,
        }
    }

    /// Attaches an adapter, or takes it away.
    pub fn set_adapter(&mut self, adapter: Option<Adapter>) {
        match adapter {
            Some(Adapter { a, b, scale }) => {
                self.lora_a = Some(Param::from_tensor(a));
                self.lora_b = Some(Param::from_tensor(b));
                self.scale = scale;
            }
            None => {
                self.lora_a = None;
                self.lora_b = None;
                self.scale = 0.0;
            }
        }
    }

    /// The adapter, without gradient tracking.
    pub fn adapter(&self) -> Option<Adapter> {
        let (a, b) = (self.lora_a.as_ref()?, self.lora_b.as_ref()?);
        Some(Adapter {
            a: a.val().without_autodiff(),
            b: b.val().without_autodiff(),
            scale: self.scale,
        })
    }

    /// Adds the adapter to the weight and takes it away; the output stays the same up to rounding.
    pub fn merge_adapter(&mut self) {
        if let Some(Adapter { a, b, scale }) = self.adapter() {
            self.set_adapter(None);
            let product = a.matmul(b) * scale;
            self.weight = self.weight.clone().map(|weight| {
                let tracked = weight.is_require_grad();
                let sum = weight.without_autodiff() + product;
                if tracked {
                    sum.autodiff().require_grad()
                } else {
                    sum
                }
            });
        }
    }

    /// Weight and bias of a layer that has both and no adapter.
    pub(crate) fn biased(&self) -> Option<(Tensor<2>, Tensor<1>)> {
        let bias = self.bias.as_ref().filter(|_| self.lora_a.is_none())?;
        Some((self.weight.val(), bias.val()))
    }

    /// The weight of a layer that has neither bias nor adapter.
    pub(crate) fn unbiased(&self) -> Option<Tensor<2>> {
        let bare = self.bias.is_none() && self.lora_a.is_none();
        bare.then(|| self.weight.val())
    }

    /// Adds what the layer makes of `x` `[tokens, in]` to `onto` `[tokens, out]`.
    pub fn forward_onto(&self, x: Tensor<2>, onto: Tensor<2>) -> Tensor<2> {
        match (&self.bias, &self.lora_a) {
            (None, None) => linear_onto(onto, x, self.weight.val()),
            _ => onto + self.forward(x),
        }
    }

    /// `[tokens, in]` to `[tokens, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let bias = self.bias.as_ref().map(Param::val);
        match (&self.lora_a, &self.lora_b) {
            (Some(a), Some(b)) => {
                let low = x.clone().matmul(a.val()).matmul(b.val());
                linear(x, self.weight.val(), bias) + low * self.scale
            }
            _ => linear(x, self.weight.val(), bias),
        }
    }
}

/// The two factors of a low-rank adapter and what their product is multiplied with.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// `[in, rank]`.
    pub a: Tensor<2>,
    /// `[rank, out]`.
    pub b: Tensor<2>,
    /// The factor of the product.
    pub scale: f64,
}
