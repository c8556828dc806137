//! Putting adapters on a model, taking them away and adding them to its weights.

use burn::tensor::{Tensor, TensorData};
use visrl_core::ShuffleRng;

use super::config::LoraConfig;
use crate::error::Error;
use crate::layers::lora_linear::{Adapter, column_norms};
use crate::model::vision_language_model::VisionLanguageModel;

/// Attaches new adapters, which change nothing yet: A is drawn from U(-1/sqrt(in), 1/sqrt(in)), as
/// PEFT draws it, and B is 0; magnitudes are those of the weights.
///
/// # Errors
/// [`Error::Adapter`] as for [`LoraConfig::targets`], and for `modules_to_save`: what is trained whole
/// is not trained as an adapter.
pub fn attach_lora<M: VisionLanguageModel>(
    mut model: M,
    config: &LoraConfig,
    mut rng: ShuffleRng,
) -> Result<M, Error> {
    if let Some(name) = config.modules_to_save.first() {
        let message =
            format!("modules_to_save: `{name}` would be trained whole, not as an adapter");
        return Err(Error::Adapter(message));
    }
    let targets = config.ranked_targets(&mut model)?;
    model.each_linear(&mut |name, dense| {
        let Some(target) = targets.iter().find(|target| target.name == name) else {
            return;
        };
        let (rank, scale) = (target.rank, target.scale);
        let weight = dense.weight.val().without_autodiff();
        let ([d_in, d_out], device) = (weight.dims(), weight.device());
        let bound = 1.0 / (d_in as f64).sqrt();
        let values: Vec<f32> = (0..d_in * rank)
            .map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32)
            .collect();
        let a = Tensor::<2>::from_data(TensorData::new(values, [d_in, rank]), &device);
        let b = Tensor::<2>::zeros([rank, d_out], &device);
        let (a, b) = (a.cast(weight.dtype()), b.cast(weight.dtype()));
        let norms = || column_norms(weight.clone()).reshape([d_out]);
        let magnitude = config.use_dora.then(norms);
        dense.set_adapter(Some(Adapter {
            a,
            b,
            scale,
            magnitude,
        }));
    });
    Ok(model)
}

/// Takes all adapters away; the model shares its weights with the one given.
#[must_use]
pub fn without_lora<M: VisionLanguageModel>(mut model: M) -> M {
    model.each_linear(&mut |_, dense| dense.set_adapter(None));
    model
}

/// Adds all adapters to their weights: a model of the plain form with the same output.
#[must_use]
pub fn merge_lora<M: VisionLanguageModel>(mut model: M) -> M {
    model.each_linear(&mut |_, dense| dense.merge_adapter());
    model
}
