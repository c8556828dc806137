use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::{AdamW as Rule, AdamWConfig, AdamWState, Optimizer};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use visrl_vlm::ParameterPath;

use crate::Gradients;

/// AdamW's settings (arXiv 1711.05101); the defaults are the paper's, which are PyTorch's with no
/// weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWSettings {
    /// Decay rates of the two moments.
    pub betas: [f32; 2],
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay, on every parameter.
    pub weight_decay: f32,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// AdamW over the parameters of a module, its moments kept by the parameters' names.
#[derive(Clone)]
pub struct AdamW {
    rule: Rule,
    states: BTreeMap<String, AdamWState<1>>,
}

impl std::fmt::Debug for AdamW {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdamW")
            .field("parameters", &self.states.len())
            .finish_non_exhaustive()
    }
}

impl AdamW {
    /// An optimizer without moments yet.
    pub fn new(settings: &AdamWSettings) -> Self {
        let rule = AdamWConfig::new()
            .with_beta_1(settings.betas[0])
            .with_beta_2(settings.betas[1])
            .with_epsilon(settings.epsilon)
            .with_weight_decay(settings.weight_decay)
            .build();
        Self {
            rule,
            states: BTreeMap::new(),
        }
    }

    /// Updates the parameters that have a gradient.
    #[must_use]
    pub fn step<M: Module>(&mut self, model: M, gradients: &Gradients, learning_rate: f64) -> M {
        struct Mapper<'a> {
            path: ParameterPath,
            rule: &'a Rule,
            states: &'a mut BTreeMap<String, AdamWState<1>>,
            gradients: &'a Gradients,
            learning_rate: f64,
        }
        impl ModuleMapper for Mapper<'_> {
            fn enter_module(&mut self, name: &str, container: &str) {
                self.path.enter(name, container);
            }
            fn exit_module(&mut self, _name: &str, _container: &str) {
                self.path.exit();
            }
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let name = self.path.name();
                let Some(gradient) = self.gradients.get(&name) else {
                    return param;
                };
                let (id, tensor, mapper) = param.consume();
                let shape = tensor.dims();
                let values = tensor.without_autodiff().reshape([-1]);
                let state = self.states.remove(&name);
                let (values, state) =
                    self.rule
                        .step(self.learning_rate, values, gradient.clone(), state);
                if let Some(state) = state {
                    self.states.insert(name, state);
                }
                let tensor = values.reshape(shape).autodiff().require_grad();
                Param::from_mapped_value(id, tensor, mapper)
            }
        }
        model.map(&mut Mapper {
            path: ParameterPath::default(),
            rule: &self.rule,
            states: &mut self.states,
            gradients,
            learning_rate,
        })
    }
}
