//! Where numbers that are not finite come from.

use visrl_vlm::{VisionLanguageModel, visit_parameters};

/// The first parameter of a model that is not finite.
pub(crate) fn damaged_parameter<M: VisionLanguageModel>(model: &M) -> Option<String> {
    let mut parameter = None;
    visit_parameters(model, |p| {
        if parameter.is_none() {
            // 0 for each finite number, NaN for others.
            let sum = (p.values * 0.0).sum().into_scalar::<f32>();
            parameter = (!sum.is_finite()).then_some(p.name);
        }
    });
    parameter
}
