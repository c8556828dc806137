//! Freezing a model by parts.

use serde::{Deserialize, Serialize};

use super::parameters::{NamedParameter, map_parameters, visit_parameters};
use super::part::Part;
use super::vision_language_model::VisionLanguageModel;

/// The parts of a model that are trained. By default all are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trainable {
    /// The vision tower.
    pub vision_tower: bool,
    /// The merger.
    pub merger: bool,
    /// The language model.
    pub language_model: bool,
}

impl Default for Trainable {
    fn default() -> Self {
        Self {
            vision_tower: true,
            merger: true,
            language_model: true,
        }
    }
}

impl Trainable {
    /// The language model alone: vision tower and merger are frozen, so that the features of an
    /// image can be kept.
    pub const fn language_model() -> Self {
        Self {
            vision_tower: false,
            merger: false,
            language_model: true,
        }
    }

    /// Whether a part is trained.
    pub fn contains(&self, part: Part) -> bool {
        match part {
            Part::VisionTower => self.vision_tower,
            Part::Merger => self.merger,
            Part::LanguageModel => self.language_model,
        }
    }

    /// Switches gradient tracking of a model's parameters on or off by their parts, for a model
    /// on a device that records gradients.
    ///
    /// Where a model carries adapters, these alone are trained: all other parameters are frozen.
    #[must_use]
    pub fn apply<M: VisionLanguageModel>(&self, model: M) -> M {
        let mut adapted = false;
        let mut trained = Vec::new();
        visit_parameters(&model, |parameter| {
            adapted |= is_adapter(&parameter.name);
            trained.push(self.contains(model.part_of(&parameter.name)));
        });
        let mut trained = trained.into_iter();
        map_parameters(model, |parameter| NamedParameter {
            trainable: trained.next().unwrap_or(false) && (!adapted || is_adapter(&parameter.name)),
            ..parameter
        })
    }
}

/// Whether any parameter of the vision tower or the merger is trained, so that the features of an
/// image change with every update.
pub fn trains_vision<M: VisionLanguageModel>(model: &M) -> bool {
    let mut found = false;
    visit_parameters(model, |parameter| {
        found |= parameter.trainable && model.part_of(&parameter.name) != Part::LanguageModel;
    });
    found
}

fn is_adapter(name: &str) -> bool {
    let ends = [".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"];
    ends.iter().any(|end| name.ends_with(end))
}
