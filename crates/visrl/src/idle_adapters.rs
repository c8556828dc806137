//! Settings of adapters that mean no layer.

use visrl_train::Warnings;
use visrl_vlm::{LoraConfig, TargetModules, VisionLanguageModel};

use crate::error::Error;
use crate::settings_check::of_lora;

/// Warns of names, patterns and places of an adapter's settings that change nothing.
///
/// # Errors
/// As [`LoraConfig::targets`].
pub(crate) fn warn_of_idle<M: VisionLanguageModel>(
    lora: &LoraConfig,
    model: &M,
    warnings: &Warnings,
) -> Result<(), Error> {
    let mut model = model.clone();
    let targets = lora.targets(&mut model).map_err(of_lora)?;
    let idle = |field: &str, name: &str, why: &str| {
        let message = format!("`fine_tune.lora.{field}`: `{name}` has no effect, as {why}");
        warnings.warn(&format!("lora {field} {name}"), message);
    };

    let whole = LoraConfig {
        exclude_modules: None,
        ..lora.clone()
    };
    let excluded = match &lora.exclude_modules {
        None => Vec::new(),
        Some(TargetModules::Pattern(pattern)) => vec![(pattern, lora.exclude_modules.clone())],
        Some(TargetModules::Names(names)) => {
            let alone = |name: &String| Some(TargetModules::Names(vec![name.clone()]));
            names.iter().map(|name| (name, alone(name))).collect()
        }
    };
    for (name, exclude_modules) in excluded {
        let without = LoraConfig {
            exclude_modules,
            ..whole.clone()
        };
        if leaves_all(&without, &whole, &mut model) {
            idle("exclude_modules", name, "it is the name of no target");
        }
    }

    for place in &lora.layers_to_transform {
        let alone = LoraConfig {
            layers_to_transform: vec![*place],
            ..whole.clone()
        };
        if alone.targets(&mut model).is_err() {
            let why = "no target is in a layer of this number";
            idle("layers_to_transform", &place.to_string(), why);
        }
    }
    if lora.layers_to_transform.is_empty()
        && let Some(name) = lora.layers_pattern.first()
    {
        let why = "`layers_to_transform` names no place";
        idle("layers_pattern", name, why);
    }

    let named = LoraConfig {
        target_modules: TargetModules::Names(targets),
        exclude_modules: None,
        layers_to_transform: Vec::new(),
        rank_pattern: Vec::new(),
        alpha_pattern: Vec::new(),
        ..lora.clone()
    };
    let ranks = lora
        .rank_pattern
        .iter()
        .map(|(key, _)| ("rank_pattern", key));
    let alphas = lora.alpha_pattern.iter();
    let alphas = alphas.map(|(key, _)| ("alpha_pattern", key));
    for (field, key) in ranks.chain(alphas) {
        let without = LoraConfig {
            exclude_modules: Some(TargetModules::Pattern(format!(r"(.*\.)?({key})"))),
            ..named.clone()
        };
        if leaves_all(&without, &named, &mut model) {
            idle(field, key, "it is the name of no target");
        }
    }
    Ok(())
}

/// Whether a configuration leaves all targets of another; one that leaves none is an error.
fn leaves_all<M: VisionLanguageModel>(
    without: &LoraConfig,
    whole: &LoraConfig,
    model: &mut M,
) -> bool {
    match (without.targets(model), whole.targets(model)) {
        (Ok(left), Ok(all)) => left == all,
        _ => false,
    }
}
