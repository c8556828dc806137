//! Linear layers that may carry a low-rank adapter.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use visrl_kernels::{LinearWeights, linear, linear_onto};

/// `y = x W + b`, plus `scale (x A) B` where an adapter is attached (LoRA, arXiv 2106.09685).
///
/// The adapter works on activations: the sum `W + scale A B` never exists, so a frozen `W` costs
/// no gradient and may be shared with a model without the adapter. With magnitudes (DoRA, arXiv
/// 2402.09353) the columns of that sum are scaled to them; it is then made for its norms alone, which
/// are constants to the gradient, as in PEFT.
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
    /// `[out]`.
    pub(crate) lora_magnitude: Option<Param<Tensor<1>>>,
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
            lora_magnitude: None,
            scale: 0.0,
        }
    }

    /// Attaches an adapter, or takes it away.
    pub fn set_adapter(&mut self, adapter: Option<Adapter>) {
        match adapter {
            Some(adapter) => {
                self.lora_a = Some(Param::from_tensor(adapter.a));
                self.lora_b = Some(Param::from_tensor(adapter.b));
                self.lora_magnitude = adapter.magnitude.map(Param::from_tensor);
                self.scale = adapter.scale;
            }
            None => {
                self.lora_a = None;
                self.lora_b = None;
                self.lora_magnitude = None;
                self.scale = 0.0;
            }
        }
    }

    /// The adapter, without gradient tracking.
    pub fn adapter(&self) -> Option<Adapter> {
        let (a, b) = (self.lora_a.as_ref()?, self.lora_b.as_ref()?);
        let magnitude = self.lora_magnitude.as_ref();
        Some(Adapter {
            a: a.val().without_autodiff(),
            b: b.val().without_autodiff(),
            scale: self.scale,
            magnitude: magnitude.map(|magnitude| magnitude.val().without_autodiff()),
        })
    }

    /// Adds the adapter to the weight and takes it away; the output stays the same up to rounding.
    pub fn merge_adapter(&mut self) {
        if let Some(adapter) = self.adapter() {
            self.set_adapter(None);
            let product = adapter.a.matmul(adapter.b) * adapter.scale;
            self.weight = self.weight.clone().map(|weight| {
                let tracked = weight.is_require_grad();
                let mut sum = weight.without_autodiff() + product;
                if let Some(magnitude) = adapter.magnitude {
                    let factor = magnitude.unsqueeze::<2>() / column_norms(sum.clone());
                    sum = sum * factor;
                }
                if tracked {
                    sum.autodiff().require_grad()
                } else {
                    sum
                }
            });
        }
    }

    /// The weights of a layer without an adapter.
    pub(crate) fn weights(&self) -> Option<LinearWeights> {
        self.lora_a.is_none().then(|| LinearWeights {
            weight: self.weight.val(),
            bias: self.bias.as_ref().map(Param::val),
        })
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
                let low = x.clone().matmul(a.val()).matmul(b.val()) * self.scale;
                let Some(magnitude) = &self.lora_magnitude else {
                    return linear(x, self.weight.val(), bias) + low;
                };
                let product = a.val().detach().matmul(b.val().detach()) * self.scale;
                let norms = column_norms(self.weight.val().detach() + product);
                let factor = magnitude.val().unsqueeze::<2>() / norms;
                let scaled = (linear(x, self.weight.val(), None) + low) * factor;
                match bias {
                    Some(bias) => scaled + bias.unsqueeze::<2>(),
                    None => scaled,
                }
            }
            _ => linear(x, self.weight.val(), bias),
        }
    }
}

/// The Euclidean norms of a matrix's columns, `[1, columns]`.
pub(crate) fn column_norms(matrix: Tensor<2>) -> Tensor<2> {
    matrix.square().sum_dim(0).sqrt()
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
    /// `[out]`: the norms that the columns of the weight and the product together have (DoRA).
    pub magnitude: Option<Tensor<1>>,
}
