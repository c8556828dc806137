//! Walks over a module's float parameters by their Hugging Face names.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Gradients, Tensor};

use super::parameter_path::ParameterPath;

/// A parameter as [`visit_parameters`] shows it and [`map_parameters`] replaces it.
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

impl NamedParameter {
    fn new<const D: usize>(path: &ParameterPath, tensor: Tensor<D>) -> Self {
        let trainable = tensor.is_require_grad();
        let tensor = tensor.without_autodiff();
        Self {
            name: path.name(),
            shape: tensor.dims().to_vec(),
            transposed: path.is_linear_weight(),
            trainable,
            values: flat(tensor),
        }
    }
}

/// The numbers of a tensor as a vector.
fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    match D {
        1 => Tensor::from_dispatch(tensor.into_dispatch()),
        _ => tensor.reshape([-1]),
    }
}

/// A parameter whose values are flattened only where they are asked for.
pub struct ParameterHandle<'a> {
    /// Hugging Face's name.
    pub name: String,
    /// The number of axes.
    pub axes: usize,
    /// Whether it is trained.
    pub trainable: bool,
    /// The number format.
    pub dtype: DType,
    values: &'a dyn Fn() -> Tensor<1>,
}

impl std::fmt::Debug for ParameterHandle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParameterHandle")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl ParameterHandle<'_> {
    /// As [`NamedParameter::values`].
    pub fn values(&self) -> Tensor<1> {
        (self.values)()
    }
}

/// As [`visit_parameters`], for those who need the values of few.
pub fn visit_handles<M: Module>(module: &M, show: impl FnMut(ParameterHandle<'_>)) {
    module.visit(&mut HandleVisitor {
        path: ParameterPath::default(),
        show,
    });
}

/// Shows every float parameter of a module, in the module's order. The values share the module's
/// memory.
pub fn visit_parameters<M: Module>(module: &M, show: impl FnMut(NamedParameter)) {
    module.visit(&mut Visitor {
        path: ParameterPath::default(),
        show,
    });
}

/// Takes the gradients of a module's parameters out of a backward pass and shows those that there
/// are, in the module's order: the parameter's name and its gradient, flattened as its values.
pub fn visit_gradients<M: Module>(
    module: &M,
    graph: &mut Gradients,
    show: impl FnMut(String, Tensor<1>),
) {
    module.visit(&mut GradientVisitor {
        path: ParameterPath::default(),
        graph,
        show,
    });
}

/// Puts other values, of any number format, in the place of those of a module's float parameters
/// that `of` has some for.
///
/// # Panics
/// When they are more or fewer than the parameter's.
#[must_use]
pub fn replace_values<M: Module>(module: M, of: impl FnMut(&str) -> Option<Tensor<1>>) -> M {
    module.map(&mut Replacer {
        path: ParameterPath::default(),
        of,
    })
}

/// Replaces every float parameter of a module: `map` gets each one, in the module's order, and the
/// module goes on with the `values` and `trainable` of what it returns.
///
/// `map` holds the values alone if nothing outside the module shares them, so that they can be
/// changed in place. Their number format may change, their number must not. A parameter stays on
/// its device; where that does not record gradients, nothing can be trained and `trainable` has no
/// effect.
///
/// # Panics
/// When `map` returns more or fewer values than it got.
#[must_use]
pub fn map_parameters<M: Module>(
    module: M,
    map: impl FnMut(NamedParameter) -> NamedParameter,
) -> M {
    module.map(&mut Mapper {
        path: ParameterPath::default(),
        map,
    })
}

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
        (self.show)(NamedParameter::new(&self.path, param.val()));
    }
}

struct HandleVisitor<F> {
    path: ParameterPath,
    show: F,
}

impl<F: FnMut(ParameterHandle<'_>)> ModuleVisitor for HandleVisitor<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        (self.show)(ParameterHandle {
            name: self.path.name(),
            axes: D,
            trainable: tensor.is_require_grad(),
            dtype: tensor.dtype(),
            values: &|| flat(tensor.clone().without_autodiff()),
        });
    }
}

struct GradientVisitor<'a, F> {
    path: ParameterPath,
    graph: &'a mut Gradients,
    show: F,
}

impl<F: FnMut(String, Tensor<1>)> ModuleVisitor for GradientVisitor<'_, F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad_remove(self.graph) {
            (self.show)(self.path.name(), flat(gradient));
        }
    }
}

struct Replacer<F> {
    path: ParameterPath,
    of: F,
}

impl<F: FnMut(&str) -> Option<Tensor<1>>> ModuleMapper for Replacer<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(values) = (self.of)(&self.path.name()) else {
            return param;
        };
        let (id, tensor, mapper) = param.consume();
        let trained = tensor.is_require_grad();
        let values = match D {
            1 => Tensor::from_dispatch(values.into_dispatch()),
            _ => values.reshape(tensor.dims()),
        };
        assert_eq!(
            values.dims(),
            tensor.dims(),
            "values of {}",
            self.path.name()
        );
        let values = match tensor.is_autodiff() {
            true => values.autodiff().set_require_grad(trained),
            false => values,
        };
        Param::from_mapped_value(id, values, mapper)
    }
}

struct Mapper<F> {
    path: ParameterPath,
    map: F,
}

impl<F: FnMut(NamedParameter) -> NamedParameter> ModuleMapper for Mapper<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let (shape, records) = (tensor.dims(), tensor.is_autodiff());
        let parameter = (self.map)(NamedParameter::new(&self.path, tensor));
        let tensor = parameter.values.reshape(shape);
        let tensor = match records {
            true => tensor.autodiff().set_require_grad(parameter.trainable),
            false => tensor,
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{DType, Device};

    use super::*;

    fn layer(device: &Device) -> Linear {
        let mut layer = LinearConfig::new(2, 3).init(device);
        layer.weight = Param::from_tensor(Tensor::full([2, 3], 1.0, device));
        layer.bias = Some(Param::from_tensor(Tensor::full([3], 2.0, device)));
        layer
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        let tensor = tensor.without_autodiff().cast(DType::F32);
        tensor.try_into_vec_as().unwrap()
    }

    #[test]
    fn parameters_are_replaced_by_name() {
        let layer = layer(&Device::flex().autodiff());
        let ids = (layer.weight.id, layer.bias.as_ref().unwrap().id);
        let mapped = map_parameters(layer, |parameter| match parameter.name.as_str() {
            "weight" => {
                assert_eq!(
                    (parameter.shape.as_slice(), parameter.transposed),
                    (&[2, 3][..], true)
                );
                assert!(parameter.trainable && !parameter.values.is_autodiff());
                NamedParameter {
                    values: (parameter.values * 3.0).cast(DType::BF16),
                    ..parameter
                }
            }
            _ => NamedParameter {
                trainable: false,
                ..parameter
            },
        });
        let bias = mapped.bias.as_ref().unwrap();
        assert_eq!((mapped.weight.id, bias.id), ids);
        assert_eq!(mapped.weight.val().dtype(), DType::BF16);
        assert_eq!(values(mapped.weight.val()), [3.0; 6]);
        assert_eq!(values(bias.val()), [2.0; 3]);
        assert!(mapped.weight.val().is_require_grad());
        assert!(bias.val().is_autodiff() && !bias.val().is_require_grad());
    }

    #[test]
    fn a_plain_device_records_nothing() {
        let mapped = map_parameters(layer(&Device::flex()), |parameter| NamedParameter {
            trainable: true,
            ..parameter
        });
        assert!(!mapped.weight.val().is_autodiff());
    }

    #[test]
    fn values_without_another_holder_are_changed_in_place() {
        let place = |tensor: Tensor<1>| {
            let host = tensor.try_into_primitive::<Flex>().unwrap();
            host.storage::<f32>().as_ptr()
        };
        let mut layer = layer(&Device::flex().autodiff());
        layer.bias = None;
        let before = place(layer.weight.val().without_autodiff().reshape([-1]));
        let layer = map_parameters(layer, |parameter| NamedParameter {
            values: parameter.values * 2.0,
            ..parameter
        });
        assert_eq!(
            place(layer.weight.val().without_autodiff().reshape([-1])),
            before
        );
        assert_eq!(values(layer.weight.val()), [2.0; 6]);
    }

    #[test]
    fn values_are_replaced_where_there_are_some() {
        let layer = layer(&Device::flex().autodiff());
        let mut handles = Vec::new();
        visit_handles(&layer, |of| {
            handles.push((of.name.clone(), of.axes, of.trainable, values(of.values())));
        });
        let expected = [("weight", 2, 6, 1.0), ("bias", 1, 3, 2.0)];
        let expected = expected
            .map(|(name, axes, len, value)| (name.to_owned(), axes, true, vec![value; len]));
        assert_eq!(handles, expected);
        let other = Tensor::<1>::full([6], 5.0, &Device::flex()).cast(DType::BF16);
        let layer = replace_values(layer, |name| (name == "weight").then(|| other.clone()));
        assert_eq!(layer.weight.val().dtype(), DType::BF16);
        assert!(layer.weight.val().is_require_grad());
        assert_eq!(values(layer.weight.val()), [5.0; 6]);
        assert_eq!(values(layer.bias.unwrap().val()), [2.0; 3]);
    }

    #[test]
    fn gradients_come_with_their_parameters() {
        let mut layer = layer(&Device::flex().autodiff());
        layer.bias = layer.bias.map(|bias| bias.set_require_grad(false));
        let x = Tensor::<2>::full([1, 2], 5.0, &Device::flex().autodiff());
        let mut graph = layer.forward(x).sum().backward();
        let mut seen = Vec::new();
        visit_gradients(&layer, &mut graph, |name, gradient| {
            seen.push((name, values(gradient)));
        });
        assert_eq!(seen, [("weight".to_owned(), vec![5.0; 6])]);
        visit_gradients(&layer, &mut graph, |name, _| {
            panic!("{name} has its gradient twice");
        });
    }
}
