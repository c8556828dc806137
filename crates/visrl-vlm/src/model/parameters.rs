//! Walks over a module's parameters by their Hugging Face names.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::parameter_path::ParameterPath;

/// A parameter as [`visit_parameters`] shows it.
#[derive(Debug)]
pub struct NamedParameter {
    /// Hugging Face's name.
    pub name: String,
    /// The shape as stored here; linear weights are `[in, out]`.
    pub shape: Vec<usize>,
    /// Whether it is a linear weight, which Hugging Face stores as `[out, in]`.
    pub transposed: bool,
    /// Whether it is trained.
    pub trainable: bool,
    /// The values, flattened in the layout stored here, without gradient tracking.
    pub values: Tensor<1>,
}

/// Shows every float parameter of a module, in the module's order.
pub fn visit_parameters<M: Module>(module: &M, show: impl FnMut(NamedParameter)) {
    struct Visitor<F> {
        path: ParameterPath,
        show: F,
    }
    impl<F: FnMut(NamedParameter)> ModuleVisitor for Visitor<F> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = param.val();
            let trainable = tensor.is_require_grad();
            let tensor = tensor.without_autodiff();
            (self.show)(NamedParameter {
                name: self.path.name(),
                shape: tensor.dims().to_vec(),
                transposed: self.path.is_linear_weight(),
                trainable,
                values: tensor.reshape([-1]),
            });
        }
    }
    module.visit(&mut Visitor {
        path: ParameterPath::default(),
        show,
    });
}
