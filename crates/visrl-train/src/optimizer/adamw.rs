use std::collections::BTreeMap;

use burn::module::Module;
use burn::optim::{AdamWState, AdaptiveMomentumState};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use visrl_kernels::{AdamWStep, AdamWTensors, adamw, adamw_all, adamw_has_all, cast_all};
use visrl_vlm::{NamedParameter, map_parameters, replace_values, visit_handles};

use super::gradients::{Gradients, widened};
use super::parameter_group::{MOST_DECAY, ParameterGroup};
use crate::error::Error;

/// AdamW's settings (arXiv 1711.05101); the defaults are the paper's, which are PyTorch's with no
/// weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWSettings {
    /// Decay rates of the two moments.
    pub betas: [f32; 2],
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay, on every parameter that no [`ParameterGroup`] exempts.
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

impl AdamWSettings {
    /// Checks every number.
    ///
    /// # Errors
    /// [`Error::Config`] names the first that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |field, good: bool, found: String, expected: &str| match good {
            true => Ok(()),
            false => Err(Error::config(
                field,
                format!("is {found}, expected {expected}"),
            )),
        };
        let Self {
            betas,
            epsilon,
            weight_decay,
        } = *self;
        let decay_rates = betas.iter().all(|beta| (0.0..1.0).contains(beta));
        let expected = "two numbers from 0 to below 1";
        check("adamw.betas", decay_rates, format!("{betas:?}"), expected)?;
        let small = epsilon > 0.0 && epsilon <= 1.0;
        check(
            "adamw.epsilon",
            small,
            epsilon.to_string(),
            "a number above 0, at most 1",
        )?;
        let decays = (0.0..=MOST_DECAY).contains(&weight_decay);
        check(
            "adamw.weight_decay",
            decays,
            weight_decay.to_string(),
            &format!("0 to {MOST_DECAY}"),
        )
    }
}

/// AdamW over the parameters of a module, its moments kept by the parameters' names.
///
/// Moments are f32. Parameters of a narrower format (bf16) are kept in f32 here, too, and what the
/// module gets is this master copy, rounded: steps that are smaller than the format's spacing add
/// up instead of being lost. The copy is taken from the module at a parameter's first step.
#[derive(Clone)]
pub struct AdamW {
    settings: AdamWSettings,
    groups: Vec<ParameterGroup>,
    pub(crate) states: BTreeMap<String, State>,
}

/// What is kept of one parameter.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) moments: AdamWState<1>,
    /// The parameter in f32, where the module holds it in a narrower format.
    pub(crate) master: Option<Tensor<1>>,
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
        Self::with_groups(settings, &[])
    }

    /// An optimizer whose groups of parameters have learning rates and weight decays of their own;
    /// the first group that a parameter belongs to counts.
    pub fn with_groups(settings: &AdamWSettings, groups: &[ParameterGroup]) -> Self {
        Self {
            settings: *settings,
            groups: groups.to_vec(),
            states: BTreeMap::new(),
        }
    }

    /// Updates the parameters that have a gradient.
    #[must_use]
    pub fn step<M: Module>(&mut self, model: M, gradients: &Gradients, learning_rate: f64) -> M {
        // A parameter that is put in its place anew is a new leaf of burn's graph, which stays in
        // memory until it is differentiated.
        if gradients.is_empty() {
            return model;
        }
        let together = gradients
            .iter()
            .next()
            .is_some_and(|(_, of)| adamw_has_all(of));
        if together {
            return self.step_together(model, gradients, learning_rate);
        }
        map_parameters(model, |parameter| match gradients.get(&parameter.name) {
            Some(gradient) => self.moved(parameter, gradient, learning_rate),
            None => parameter,
        })
    }

    /// The step of all parameters in few operations.
    fn step_together<M: Module>(
        &mut self,
        model: M,
        gradients: &Gradients,
        learning_rate: f64,
    ) -> M {
        let (mut names, mut steps, mut tensors) = (Vec::new(), Vec::new(), Vec::new());
        let mut of = Vec::new();
        visit_handles(&model, |parameter| {
            let Some(gradient) = gradients.get(&parameter.name) else {
                return;
            };
            let mut step = self.plan(&parameter.name, parameter.axes, learning_rate);
            let (moments, master) = match self.states.remove(&parameter.name) {
                Some(State { moments, master }) => (Some(moments.momentum), master),
                None => (None, None),
            };
            step.time = 1 + moments.as_ref().map_or(0, |moments| moments.time);
            let values = master.unwrap_or_else(|| widened(parameter.values()));
            let [first, second] = match moments {
                Some(moments) => [moments.moment_1, moments.moment_2],
                None => [values.zeros_like(), values.zeros_like()],
            };
            tensors.push(AdamWTensors {
                values,
                first,
                second,
            });
            names.push((parameter.name, parameter.dtype));
            steps.push(step);
            of.push(gradient);
        });
        let moved = adamw_all(&steps, tensors, &of);
        let (mut replaced, mut narrow) = (BTreeMap::new(), Vec::new());
        for (((name, dtype), step), of) in names.into_iter().zip(steps).zip(moved) {
            let master = of.values.dtype() != dtype;
            match master {
                true => narrow.push((name.clone(), dtype, of.values.clone())),
                false => drop(replaced.insert(name.clone(), of.values.clone())),
            }
            let moments = AdaptiveMomentumState::new(step.time, of.first, of.second);
            let state = State {
                moments: AdamWState::new(moments),
                master: master.then_some(of.values),
            };
            self.states.insert(name, state);
        }
        while let Some((_, dtype, _)) = narrow.first() {
            let dtype = *dtype;
            let (same, others) = narrow.into_iter().partition(|(_, of, _)| *of == dtype);
            narrow = others;
            let same: Vec<_> = same;
            let (names, wide) = same.into_iter().map(|(name, _, wide)| (name, wide)).unzip();
            let names: Vec<_> = names;
            replaced.extend(names.into_iter().zip(cast_all(wide, dtype)));
        }
        replace_values(model, |name| replaced.remove(name))
    }

    /// One parameter after its step.
    fn moved(
        &mut self,
        parameter: NamedParameter,
        gradient: &Tensor<1>,
        learning_rate: f64,
    ) -> NamedParameter {
        let step = self.plan(&parameter.name, parameter.shape.len(), learning_rate);
        let dtype = parameter.values.dtype();
        let (moments, master) = match self.states.remove(&parameter.name) {
            Some(State { moments, master }) => (Some(moments), master),
            None => (None, None),
        };
        let wide = master.unwrap_or_else(|| widened(parameter.values));
        let (wide, moments) = moved(step, wide, gradient, moments);
        let (values, master) = match wide.dtype() == dtype {
            true => (wide, None),
            false => (wide.clone().cast(dtype), Some(wide)),
        };
        let name = parameter.name.clone();
        self.states.insert(name, State { moments, master });
        NamedParameter {
            values,
            ..parameter
        }
    }

    /// The step that a parameter takes, but for its number.
    fn plan(&self, name: &str, axes: usize, learning_rate: f64) -> AdamWStep {
        let group = self.groups.iter().find(|group| group.contains(name, axes));
        let weight_decay = group.and_then(|group| group.weight_decay);
        AdamWStep {
            betas: self.settings.betas,
            epsilon: self.settings.epsilon,
            weight_decay: weight_decay.unwrap_or(self.settings.weight_decay),
            learning_rate: learning_rate * group.map_or(1.0, |group| group.learning_rate),
            time: 0,
        }
    }
}

/// Moves values and their moments.
fn moved(
    step: AdamWStep,
    values: Tensor<1>,
    gradient: &Tensor<1>,
    moments: Option<AdamWState<1>>,
) -> (Tensor<1>, AdamWState<1>) {
    let time = moments.as_ref().map_or(0, |state| state.momentum.time);
    let [first, second] = match moments {
        Some(AdamWState { momentum }) => [momentum.moment_1, momentum.moment_2],
        None => [values.zeros_like(), values.zeros_like()],
    };
    let step = AdamWStep {
        time: time + 1,
        ..step
    };
    let tensors = AdamWTensors {
        values,
        first,
        second,
    };
    let moved = adamw(&step, tensors, gradient);
    let momentum = AdaptiveMomentumState::new(step.time, moved.first, moved.second);
    (moved.values, AdamWState::new(momentum))
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::{DType, Device, TensorData};

    use super::*;
    use crate::optimizer::parameter_group::NamePattern;

    #[derive(Module, Debug)]
    struct Pair {
        weight: Param<Tensor<2>>,
        bias: Param<Tensor<1>>,
    }

    fn pair(dtype: DType) -> Pair {
        let device = Device::flex().autodiff();
        let data = |len| TensorData::new(vec![1.0f32; len], [len]);
        let vector = |len| Tensor::<1>::from_data(data(len), (&device, dtype));
        Pair {
            weight: Param::from_tensor(vector(4).reshape([2, 2])),
            bias: Param::from_tensor(vector(2)),
        }
    }

    fn ones() -> Gradients {
        let mut gradients = Gradients::default();
        for (name, len) in [("weight", 4), ("bias", 2)] {
            gradients.add(name.into(), Tensor::ones([len], &Device::flex()));
        }
        gradients
    }

    fn values<const D: usize>(param: &Param<Tensor<D>>) -> Vec<f32> {
        let tensor = param.val().without_autodiff().cast(DType::F32);
        tensor.try_into_vec_as().unwrap()
    }

    /// At 1 bf16 is spaced by 2^-8 below and 2^-7 above: one step of 2^-11 is lost in rounding.
    #[test]
    fn steps_below_the_spacing_of_bf16_add_up() {
        let mut model = pair(DType::BF16);
        let mut optimizer = AdamW::new(&AdamWSettings::default());
        for step in 1..=16 {
            model = optimizer.step(model, &ones(), 1.0 / 2048.0);
            assert_eq!(model.weight.val().dtype(), DType::BF16);
            if step == 1 {
                assert_eq!(values(&model.weight), [1.0; 4]);
            }
        }
        // A constant gradient makes every step the learning rate: 16 of them are 2^-7.
        assert_eq!(values(&model.weight), [1.0 - 1.0 / 128.0; 4]);
        let master = optimizer.states["bias"].master.clone().unwrap();
        let master: Vec<f32> = master.try_into_vec_as().unwrap();
        assert!(
            master
                .iter()
                .all(|x| (x - (1.0 - 1.0 / 128.0)).abs() < 1e-6)
        );
    }

    #[test]
    fn single_precision_needs_no_master_and_moves_the_same() {
        let mut model = pair(DType::F32);
        let mut optimizer = AdamW::new(&AdamWSettings::default());
        for _ in 0..16 {
            model = optimizer.step(model, &ones(), 1.0 / 2048.0);
        }
        assert!(
            optimizer
                .states
                .values()
                .all(|state| state.master.is_none())
        );
        for value in values(&model.weight) {
            assert!((value - (1.0 - 1.0 / 128.0)).abs() < 1e-6);
        }
    }

    #[test]
    fn groups_have_rates_and_decays_of_their_own() {
        let settings = AdamWSettings {
            weight_decay: 0.5,
            ..AdamWSettings::default()
        };
        let slow = ParameterGroup {
            names: NamePattern::new("^weight$").unwrap(),
            learning_rate: 0.5,
            ..ParameterGroup::default()
        };
        let groups = [slow, ParameterGroup::vectors_without_decay()];
        let step = |groups: &[ParameterGroup]| {
            let mut optimizer = AdamW::with_groups(&settings, groups);
            let model = optimizer.step(pair(DType::F32), &ones(), 0.1);
            (values(&model.weight)[0], values(&model.bias)[0])
        };
        let close = |(a, b): (f32, f32), (c, d): (f32, f32)| {
            assert!(
                (a - c).abs() < 1e-6 && (b - d).abs() < 1e-6,
                "{a} {b}, not {c} {d}"
            );
        };
        // The first step is the learning rate; decay takes rate times decay of the value.
        close(step(&[]), (1.0 - 0.1 - 0.05, 1.0 - 0.1 - 0.05));
        close(step(&groups), (1.0 - 0.05 - 0.025, 1.0 - 0.1));
    }
}
