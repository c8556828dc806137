//! Which layers a configuration means, as PEFT picks them.

use super::config::{LoraConfig, MAX_RANK, TargetModules};
use super::python_regex::PythonRegex;

/// The sizes of what the product of the factors is multiplied by, times the rank: far beyond any use,
/// and below what single precision would turn into infinities.
const MIN_ALPHA: f64 = 1e-6;
const MAX_ALPHA: f64 = 1e6;

/// A layer that gets an adapter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// The layer, by its name on the hub.
    pub(crate) name: String,
    /// The rank.
    pub(crate) rank: usize,
    /// What the product of the factors is multiplied by.
    pub(crate) scale: f64,
}

/// A field of a configuration, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) field: &'static str,
    pub(crate) message: String,
}

impl Fault {
    fn of(field: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { field, message }
    }
}

/// What the modules of a model are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// As the tensors on the hub: `model.layers.0`, which are the modules of transformers before 4.52.
    Hub,
    /// As the modules since then: `model.language_model.layers.0`.
    Modules,
    /// As those, also where that means no layer.
    ModulesAlone,
}

impl Naming {
    fn other(self) -> Self {
        match self {
            Self::Hub => Self::Modules,
            Self::Modules => Self::Hub,
            Self::ModulesAlone => self,
        }
    }

    fn name(self, hub: &str) -> String {
        match self {
            Self::Hub => hub.to_owned(),
            Self::Modules | Self::ModulesAlone => module_name(hub),
        }
    }
}

/// The name of a layer in transformers 5's modules, as PEFT sees it.
pub(crate) fn module_name(hub: &str) -> String {
    if let Some(rest) = hub.strip_prefix("model.") {
        format!("model.language_model.{rest}")
    } else if hub.starts_with("visual.") {
        format!("model.{hub}")
    } else {
        hub.to_owned()
    }
}

/// What was picked, and names that meant no layer.
pub(crate) struct Picked {
    pub(crate) targets: Vec<Target>,
    pub(crate) without_layer: Vec<String>,
    /// Numbers for layers that are none of the targets: the field and the key.
    pub(crate) without_target: Vec<(&'static str, String)>,
}

/// The layers of a model that a configuration means, in the order of `layers`. Expressions see the
/// modules by `naming`, or by the other one where nothing would match; lists of names mean both.
///
/// # Errors
/// The field that cannot be used, or that no layer is meant.
pub(crate) fn pick(
    config: &LoraConfig,
    layers: &[String],
    naming: Naming,
) -> Result<Picked, Fault> {
    check_numbers(config)?;
    const FIELD: &str = "target_modules";
    let fault = |message: String| Fault::of(FIELD, message);
    let mut without_layer = Vec::new();
    let mut is_target = match &config.target_modules {
        TargetModules::Pattern(pattern) if pattern == "all-linear" => vec![true; layers.len()],
        TargetModules::Pattern(pattern) => {
            let matched = matches(pattern, layers, naming).map_err(|m| fault(told(pattern, &m)))?;
            if !matched.contains(&true) {
                return Err(fault(format!("`{pattern}` {}", no_layer(layers))));
            }
            matched
        }
        TargetModules::Names(names) => {
            if names.is_empty() {
                return Err(fault("names no layer".into()));
            }
            let lost = |name: &&String| !layers.iter().any(|layer| is_named(layer, name, naming));
            without_layer = names.iter().filter(lost).cloned().collect();
            let hit = |layer: &String| names.iter().any(|name| is_named(layer, name, naming));
            layers.iter().map(hit).collect()
        }
    };
    if let Some(lost) = without_layer.first().filter(|_| !is_target.contains(&true)) {
        return Err(fault(format!("`{lost}` {}", no_layer(layers))));
    }
    restrict_to_indices(config, layers, &mut is_target)?;
    exclude(config, layers, naming, &mut is_target)?;
    if !is_target.contains(&true) {
        let message = "names no layer that `exclude_modules` and `layers_to_transform` leave";
        return Err(fault(message.into()));
    }
    let ranks = ByLayer::new("rank_pattern", &config.rank_pattern)?;
    let alphas = ByLayer::new("alpha_pattern", &config.alpha_pattern)?;
    let chosen = layers
        .iter()
        .zip(is_target)
        .filter(|(_, is_target)| *is_target);
    let targets: Vec<Target> = chosen
        .map(|(layer, _)| {
            let rank = ranks.get(layer, naming)?.unwrap_or(config.r);
            let alpha = alphas.get(layer, naming)?.unwrap_or(config.lora_alpha);
            let scale = scale(alpha, rank, config.use_rslora);
            Ok(Target {
                name: layer.clone(),
                rank,
                scale,
            })
        })
        .collect::<Result<_, _>>()?;
    let mut without_target = ranks.without(&targets, naming)?;
    without_target.extend(alphas.without(&targets, naming)?);
    Ok(Picked {
        targets,
        without_layer,
        without_target,
    })
}

fn scale(alpha: f64, rank: usize, use_rslora: bool) -> f64 {
    let rank = rank as f64;
    alpha / if use_rslora { rank.sqrt() } else { rank }
}

fn check_numbers(config: &LoraConfig) -> Result<(), Fault> {
    let ranks = config
        .rank_pattern
        .iter()
        .map(|(_, rank)| ("rank_pattern", *rank));
    for (field, rank) in ranks.chain([("r", config.r)]) {
        if rank == 0 || rank > MAX_RANK {
            return Err(Fault::of(
                field,
                format!("is {rank}, expected 1 to {MAX_RANK}"),
            ));
        }
    }
    let alphas = config
        .alpha_pattern
        .iter()
        .map(|(_, alpha)| ("alpha_pattern", *alpha));
    for (field, alpha) in alphas.chain([("lora_alpha", config.lora_alpha)]) {
        if !(MIN_ALPHA..=MAX_ALPHA).contains(&alpha) {
            let message = format!("is {alpha:?}, expected {MIN_ALPHA:?} to {MAX_ALPHA:?}");
            return Err(Fault::of(field, message));
        }
    }
    Ok(())
}

/// Leaves the targets of some layers of the stacks alone; only lists of names can be restricted so.
fn restrict_to_indices(
    config: &LoraConfig,
    layers: &[String],
    is_target: &mut [bool],
) -> Result<(), Fault> {
    if config.layers_to_transform.is_empty() {
        return Ok(());
    }
    if matches!(config.target_modules, TargetModules::Pattern(_)) {
        let message = "is set, which needs a list of names in `target_modules`";
        return Err(Fault::of("layers_to_transform", message));
    }
    let field = "layers_pattern";
    let stacks: Vec<String> = match config.layers_pattern.as_slice() {
        [] => vec![r".*\.[^.]*\.(\d+)\.".into()],
        names => names
            .iter()
            .map(|name| format!(r".*\.{name}\.(\d+)\."))
            .collect(),
    };
    let stacks = stacks.iter().map(|stack| PythonRegex::beginning(stack));
    let stacks: Vec<_> = stacks
        .collect::<Result<_, _>>()
        .map_err(|m| Fault::of(field, m))?;
    for (layer, is_target) in layers
        .iter()
        .zip(is_target)
        .filter(|(_, is_target)| **is_target)
    {
        let name = module_name(layer);
        let mut index = None;
        for stack in &stacks {
            let found = stack.group(&name, 1).map_err(|m| Fault::of(field, m))?;
            index = index.or(found.and_then(|digits| digits.parse::<usize>().ok()));
        }
        *is_target = index.is_some_and(|index| config.layers_to_transform.contains(&index));
    }
    Ok(())
}

fn exclude(
    config: &LoraConfig,
    layers: &[String],
    naming: Naming,
    is_target: &mut [bool],
) -> Result<(), Fault> {
    let excluded: Vec<bool> = match &config.exclude_modules {
        None => return Ok(()),
        Some(TargetModules::Names(names)) => {
            let hit = |layer: &String| names.iter().any(|name| is_named(layer, name, naming));
            layers.iter().map(hit).collect()
        }
        Some(TargetModules::Pattern(pattern)) => matches(pattern, layers, naming)
            .map_err(|m| Fault::of("exclude_modules", told(pattern, &m)))?,
    };
    for (is_target, excluded) in is_target.iter_mut().zip(excluded) {
        *is_target &= !excluded;
    }
    Ok(())
}

/// Which layers an expression matches, by one naming, or by the other where it would be none.
fn matches(pattern: &str, layers: &[String], naming: Naming) -> Result<Vec<bool>, String> {
    let regex = PythonRegex::whole(pattern)?;
    let by = |naming: Naming| -> Result<Vec<bool>, String> {
        let names = layers.iter().map(|layer| naming.name(layer));
        names.map(|name| regex.is_match(&name)).collect()
    };
    let matched = by(naming)?;
    match matched.contains(&true) {
        true => Ok(matched),
        false => by(naming.other()),
    }
}

/// Whether a name is a layer's, by either naming, or its last parts.
fn is_named(layer: &str, name: &str, naming: Naming) -> bool {
    [naming, naming.other()].iter().any(|naming| {
        let layer = naming.name(layer);
        let rest = layer.strip_suffix(name).filter(|_| !name.is_empty());
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// The same targets by the names of transformers 5's modules alone, one by one where the
/// configuration does not mean them by these names, as PEFT will need it.
pub(crate) fn by_modules(config: &LoraConfig, targets: &[Target]) -> LoraConfig {
    let other_rank = |target: &&Target| target.rank != config.r;
    let alpha = |target: &Target| {
        let exact = target.scale / scale(1.0, target.rank, config.use_rslora);
        // Without what the division left.
        (exact * 1e9).round() / 1e9
    };
    let other_alpha = |(_, alpha): &(String, f64)| *alpha != config.lora_alpha;
    LoraConfig {
        target_modules: TargetModules::Names(
            targets
                .iter()
                .map(|target| module_name(&target.name))
                .collect(),
        ),
        exclude_modules: None,
        layers_to_transform: Vec::new(),
        layers_pattern: Vec::new(),
        rank_pattern: targets
            .iter()
            .filter(other_rank)
            .map(|target| (module_name(&target.name), target.rank))
            .collect(),
        alpha_pattern: targets
            .iter()
            .map(|target| (module_name(&target.name), alpha(target)))
            .filter(other_alpha)
            .collect(),
        ..config.clone()
    }
}

/// Numbers for some layers, by expressions for the last parts of names; the first that matches counts.
struct ByLayer<T> {
    field: &'static str,
    numbers: Vec<(String, PythonRegex, T)>,
}

impl<T: Copy> ByLayer<T> {
    fn new(field: &'static str, numbers: &[(String, T)]) -> Result<Self, Fault> {
        let numbers = numbers.iter().map(|(key, number)| {
            let regex = PythonRegex::whole(key)
                .and_then(|_| PythonRegex::whole(&format!(r"(.*\.)?({key})")))
                .map_err(|message| Fault::of(field, told(key, &message)))?;
            Ok((key.clone(), regex, *number))
        });
        let numbers = numbers.collect::<Result<_, _>>()?;
        Ok(Self { field, numbers })
    }

    fn get(&self, layer: &str, naming: Naming) -> Result<Option<T>, Fault> {
        for naming in [naming, naming.other()] {
            let name = naming.name(layer);
            for (_, regex, number) in &self.numbers {
                if regex
                    .is_match(&name)
                    .map_err(|m| Fault::of(self.field, m))?
                {
                    return Ok(Some(*number));
                }
            }
        }
        Ok(None)
    }

    /// The field and the keys that are the name of no target.
    fn without(
        &self,
        targets: &[Target],
        naming: Naming,
    ) -> Result<Vec<(&'static str, String)>, Fault> {
        let mut without = Vec::new();
        for (key, regex, _) in &self.numbers {
            let mut names = targets
                .iter()
                .flat_map(|target| [naming, naming.other()].map(|n| n.name(&target.name)));
            let matched = names.try_fold(false, |matched, name| {
                Ok(matched
                    || regex
                        .is_match(&name)
                        .map_err(|m| Fault::of(self.field, m))?)
            })?;
            if !matched {
                without.push((self.field, key.clone()));
            }
        }
        Ok(without)
    }
}

fn told(pattern: &str, message: &str) -> String {
    let shown: String = pattern.chars().take(200).collect();
    format!("`{shown}` {message}")
}

/// What is said of a name that means no layer.
pub(super) fn no_layer(layers: &[String]) -> String {
    let mut ends: Vec<_> = layers.iter().filter_map(|n| n.rsplit('.').next()).collect();
    ends.sort_unstable();
    ends.dedup();
    format!("matches no layer; their names end in {}", ends.join(", "))
}
