//! The policy that the KL term compares with.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use visrl_vlm::{
    NamedParameter, VisionLanguageModel, map_parameters, visit_parameters, without_lora,
};

use crate::error::Error;

/// What the KL term of a loss compares the policy with. A loss without one (beta 0) has no
/// reference, whatever is chosen here.
///
/// Neither choice copies parameters that are not trained: under adapters the reference costs no
/// memory beside the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferencePolicy {
    /// The model as it comes to the learner, its adapters switched off where it carries some. The
    /// default.
    #[default]
    Base,
    /// The model as it comes to the learner, adapters included: the policy that a run starts from,
    /// also where it goes on from earlier adapters.
    Snapshot,
}

impl ReferencePolicy {
    /// The reference for a model, without gradient tracking.
    pub(crate) fn of<M: VisionLanguageModel>(self, model: &M) -> M {
        match self {
            Self::Base => without_lora(model.valid()),
            Self::Snapshot => model.valid(),
        }
    }
}

/// Whether a reference can follow a policy with this share of it.
///
/// # Errors
/// [`Error::Config`] when they are to be mixed and one carries adapters that the other does not.
pub(crate) fn check<M: Module>(reference: &M, policy: &M, mix: f64) -> Result<(), Error> {
    if mix == 1.0 || values(reference).keys().eq(values(policy).keys()) {
        return Ok(());
    }
    Err(Error::config(
        "reference_refresh.mix",
        "must be 1 where the reference is the base without its adapters: adapters cannot be mixed \
         with none",
    ))
}

/// The reference after a refresh: `mix * policy + (1 - mix) * reference`, parameter by parameter
/// (TR-DPO, arXiv 2404.09656).
pub(crate) fn refreshed<M: Module>(reference: &M, policy: &M, mix: f64) -> M {
    let policy = policy.valid();
    if mix == 1.0 {
        return policy;
    }
    let mut reference = values(reference);
    map_parameters(policy, |parameter| {
        match reference.remove(&parameter.name) {
            Some(old) => NamedParameter {
                values: parameter.values * mix + old * (1.0 - mix),
                ..parameter
            },
            None => parameter,
        }
    })
}

/// Parameters by their names, flattened; they share the memory of the module.
fn values<M: Module>(module: &M) -> BTreeMap<String, Tensor<1>> {
    let mut found = BTreeMap::new();
    visit_parameters(module, |parameter| {
        found.insert(parameter.name, parameter.values);
    });
    found
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    use super::*;

    fn layer(value: f64) -> Linear {
        let device = Device::flex();
        let mut layer = LinearConfig::new(2, 3).init(&device);
        layer.weight = Param::from_tensor(Tensor::full([2, 3], value, &device));
        layer.bias = Some(Param::from_tensor(Tensor::full([3], -value, &device)));
        layer
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as().unwrap()
    }

    #[test]
    fn a_share_of_the_policy_enters_the_reference() {
        let (reference, policy) = (layer(1.0), layer(3.0).train());
        assert!(check(&reference, &policy, 0.25).is_ok());
        let mixed = refreshed(&reference, &policy, 0.25);
        assert_eq!(numbers(mixed.weight.val()), [1.5; 6]);
        let bias = mixed.bias.unwrap().val();
        assert!(!bias.is_autodiff());
        assert_eq!(numbers(bias), [-1.5; 3]);
        let copied = refreshed(&reference, &policy, 1.0);
        assert_eq!(numbers(copied.weight.val()), [3.0; 6]);
    }

    #[test]
    fn parameters_that_one_lacks_cannot_be_mixed() {
        let mut bare = layer(1.0);
        bare.bias = None;
        let error = check(&bare, &layer(1.0), 0.5).unwrap_err().to_string();
        assert!(error.contains("reference_refresh.mix"), "{error}");
        assert!(check(&bare, &layer(1.0), 1.0).is_ok());
    }
}
