//! What stands beside the weights that a run saves.

mod generation_config;
mod model_card;

pub(crate) use generation_config::files_to_save;
pub(crate) use model_card::{ModelCard, base_name, is_own_card};
