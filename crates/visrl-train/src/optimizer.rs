use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::{AdamW as Rule, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use visrl_vlm::ParameterPath;
use visrl_vlm::kernels::{AdamWStep, adamw};

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
    settings: AdamWSettings,
    pub(crate) states: BTreeMap<String, AdamWState<1>>,
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
            settings: *settings,
            states: BTreeMap::new(),
        }
    }

    /// Updates the parameters that have a gradient.
    #[must_use]
    pub fn step<M: Module>(&mut self, model: M, gradients: &Gradients, learning_rate: f64) -> M {
        struct Mapper<'a> {
            path: ParameterPath,
            rule: &'a Rule,
            settings: AdamWSettings,
            states: &'a mut BTreeMap<String, AdamWState<1>>,
            gradients: &'a Gradients,
            learning_rate: f64,
        }
        impl Mapper<'_> {
            /// In one pass on the CPU, by burn's rule elsewhere.
            fn step(
                &self,
                values: Tensor<1>,
                gradient: &Tensor<1>,
                state: Option<AdamWState<1>>,
            ) -> (Tensor<1>, Option<AdamWState<1>>) {
                let time = state.as_ref().map_or(0, |state| state.momentum.time);
                let [first, second] = match state {
                    Some(AdamWState { momentum }) => [momentum.moment_1, momentum.moment_2],
                    None => [values.zeros_like(), values.zeros_like()],
                };
                let step = AdamWStep {
                    betas: self.settings.betas,
                    epsilon: self.settings.epsilon,
                    weight_decay: self.settings.weight_decay,
                    learning_rate: self.learning_rate,
                    time: time + 1,
                };
                let momentum = |time, [first, second]: [Tensor<1>; 2]| {
                    AdamWState::new(AdaptiveMomentumState::new(time, first, second))
                };
                match adamw(&step, [values, first, second], gradient) {
                    Ok([values, first, second]) => {
                        (values, Some(momentum(time + 1, [first, second])))
                    }
                    Err([values, first, second]) => {
                        let state = momentum(time, [first, second]);
                        let gradient = gradient.clone();
                        self.rule
                            .step(self.learning_rate, values, gradient, Some(state))
                    }
                }
            }
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
                let (values, state) = self.step(values, gradient, state);
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
            settings: self.settings,
            states: &mut self.states,
            gradients,
            learning_rate,
        })
    }
}
