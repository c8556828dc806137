//! What a run will need of memory, estimated before its first step.

use serde::{Deserialize, Serialize};
use visrl_vlm::{Part, VisionLanguageModel, visit_parameters};

use super::learner::Learner;

/// The largest batch of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Prompts of a step.
    pub prompts: usize,
    /// Completions of each.
    pub num_generations: usize,
    /// Tokens of a prompt, those of its image included.
    pub prompt_tokens: usize,
    /// Most tokens of a completion.
    pub completion_tokens: usize,
}

/// Bytes by purpose. Parameters, masters, moments, reference and gradients are counted exactly; activations
/// are an estimate, the sum over the linear layers of the decoder of what goes in and comes out,
/// for every token that is learnt from at once, the attention's probabilities, which grow with the
/// square of a prompt's length, and the logits of one chunk of the head; of layers that are
/// computed again, those of the ones that are there at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryPlan {
    /// The policy.
    pub parameters: u64,
    /// The frozen reference: its copy of what is trained.
    pub reference: u64,
    /// What is trained of a narrower format, in f32, where the optimizer moves it.
    #[serde(default)]
    pub masters: u64,
    /// The optimizer's two moments.
    pub moments: u64,
    /// Gradients of what is trained.
    pub gradients: u64,
    /// What backward needs of forward.
    pub activations: u64,
    /// Keys and values of a step's prompts, once, and completions.
    pub cache: u64,
}

/// A parameter, as far as memory depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterSize {
    /// How many numbers it has.
    pub values: u64,
    /// Bytes of each.
    pub value_bytes: u64,
    /// Whether it is trained.
    pub trainable: bool,
    /// What a linear layer of the decoder takes and gives for each token; nothing for others.
    pub decoder_linear: Option<[u64; 2]>,
    /// Whether that layer gives keys.
    pub keys: bool,
}

/// A model and the settings of its training, as far as memory depends on them.
#[derive(Clone, Debug, Default)]
pub struct MemoryShape {
    /// All parameters.
    pub parameters: Vec<ParameterSize>,
    /// Layers of the decoder.
    pub layers: usize,
    /// Width of the decoder's states.
    pub hidden_size: usize,
    /// Query heads of a layer.
    pub query_heads: usize,
    /// Token ids.
    pub vocab_size: usize,
    /// Whether a reference is kept of what is trained.
    pub reference: bool,
    /// [`LearnerConfig::micro_batch_groups`](super::LearnerConfig::micro_batch_groups).
    pub micro_batch_groups: usize,
    /// [`LearnerConfig::head_chunk`](super::LearnerConfig::head_chunk).
    pub head_chunk: usize,
    /// [`LearnerConfig::recompute`](super::LearnerConfig::recompute).
    pub recompute: usize,
}

impl MemoryShape {
    /// That of a learner.
    fn of<M: VisionLanguageModel>(learner: &Learner<M>) -> Self {
        let (model, config) = (learner.model(), learner.config());
        let info = model.info();
        let mut shape = Self {
            parameters: Vec::new(),
            layers: info.layers,
            hidden_size: info.hidden_size,
            query_heads: model.query_heads(),
            vocab_size: info.vocab_size,
            reference: learner.reference().is_some(),
            micro_batch_groups: config.micro_batch_groups,
            head_chunk: config.head_chunk,
            recompute: config.recompute,
        };
        visit_parameters(model, |parameter| {
            let decoder = model.part_of(&parameter.name) == Part::LanguageModel;
            let decoder_linear = match (decoder, parameter.transposed, parameter.shape.as_slice()) {
                (true, true, &[inputs, outputs]) if !parameter.name.contains("lm_head") => {
                    Some([inputs, outputs].map(|width| width as u64))
                }
                _ => None,
            };
            shape.parameters.push(ParameterSize {
                values: parameter.shape.iter().product::<usize>() as u64,
                value_bytes: parameter.values.dtype().size() as u64,
                trainable: parameter.trainable,
                decoder_linear,
                keys: parameter.name.ends_with("k_proj.weight"),
            });
        });
        shape
    }
}

impl MemoryPlan {
    /// The plan of a learner for a workload.
    pub fn new<M: VisionLanguageModel>(learner: &Learner<M>, load: &Workload) -> Self {
        Self::of(&MemoryShape::of(learner), load)
    }

    /// The plan of a model of a shape, which need not be there.
    pub fn of(shape: &MemoryShape, load: &Workload) -> Self {
        let mut plan = Self::default();
        let (mut width, mut kv_width, mut value_bytes) = (0u64, 0u64, 4u64);
        for parameter in &shape.parameters {
            let bytes = parameter.values * parameter.value_bytes;
            plan.parameters += bytes;
            if parameter.trainable {
                // Moments and gradients are in f32 at least.
                let wide = parameter.values * parameter.value_bytes.max(4);
                plan.gradients += wide;
                plan.moments += 2 * wide;
                if parameter.value_bytes < 4 {
                    plan.masters += wide;
                }
                if shape.reference {
                    plan.reference += bytes;
                }
            }
            if let Some([inputs, outputs]) = parameter.decoder_linear {
                width += inputs + outputs;
                value_bytes = parameter.value_bytes;
                if parameter.keys {
                    kv_width += outputs;
                }
            }
        }
        let tokens = |groups: usize| {
            let group = load.prompt_tokens + load.num_generations * load.completion_tokens;
            (groups * group) as u64
        };
        let at_once = match shape.micro_batch_groups {
            0 => load.prompts,
            groups => groups.min(load.prompts),
        };
        let learnt = load.prompts * load.num_generations * load.completion_tokens;
        let chunk = shape.head_chunk.min(learnt) as u64;
        let logits = 2 * chunk * shape.vocab_size as u64 * 4;
        let layers = shape.layers as u64;
        let probabilities = probabilities(load, layers) * shape.query_heads as u64 * at_once as u64;
        let numbers = tokens(at_once) * width + probabilities;
        // Computed again: those of a few layers, and the states before every so many.
        let numbers = match shape.recompute as u64 {
            0 => numbers,
            every => {
                let every = every.min(layers.max(1));
                let states = tokens(at_once) * shape.hidden_size as u64 * layers.div_ceil(every);
                numbers / layers.max(1) * every + states
            }
        };
        plan.activations = numbers * value_bytes + logits;
        plan.cache = 2 * tokens(load.prompts) * kv_width * value_bytes;
        plan
    }

    /// The most that is held at once: sampling and learning follow each other.
    pub fn total(&self) -> u64 {
        let learning = self.gradients + self.activations;
        self.parameters + self.reference + self.masters + self.moments + learning.max(self.cache)
    }

    /// What comes on top of the model as it was loaded.
    pub fn beyond_parameters(&self) -> u64 {
        self.total() - self.parameters
    }
}

impl std::fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        write!(
            f,
            "{:.0} MB: parameters {:.1}, reference {:.1}, masters {:.1}, moments {:.1}, \
             gradients {:.1}, activations about {:.0}, keys and values {:.1}",
            mb(self.total()),
            mb(self.parameters),
            mb(self.reference),
            mb(self.masters),
            mb(self.moments),
            mb(self.gradients),
            mb(self.activations),
            mb(self.cache)
        )
    }
}

/// The attention's probabilities of a group, for each head: of a prompt, whose last layer makes keys
/// and values alone, and of its completions, which see it. A token sees those before it.
fn probabilities(load: &Workload, layers: u64) -> u64 {
    let (prompt, completion) = (load.prompt_tokens as u64, load.completion_tokens as u64);
    let of_completions = load.num_generations as u64 * completion * (prompt + completion / 2);
    layers.saturating_sub(1) * prompt * prompt / 2 + layers * of_completions
}

/// The most memory that the process has held so far, in bytes, where the system tells it (Linux).
/// Program, data and what ran before count, too.
pub fn peak_memory() -> Option<u64> {
    status("VmHWM:")
}

/// The memory that the process holds now, in bytes, where the system tells it (Linux).
pub fn resident_memory() -> Option<u64> {
    status("VmRSS:")
}

fn status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_and_learning_do_not_add_up() {
        let plan = MemoryPlan {
            parameters: 4_000_000,
            reference: 4_000_000,
            masters: 0,
            moments: 8_000_000,
            gradients: 4_000_000,
            activations: 6_000_000,
            cache: 30_000_000,
        };
        assert_eq!(plan.total(), 46_000_000);
        assert!(plan.to_string().starts_with("46 MB: parameters 4.0,"));
    }

    #[test]
    fn layers_that_are_computed_again_are_not_counted() {
        let linear = ParameterSize {
            values: 12,
            value_bytes: 2,
            trainable: true,
            decoder_linear: Some([3, 4]),
            keys: false,
        };
        let shape = |recompute| MemoryShape {
            parameters: vec![linear; 12],
            layers: 12,
            hidden_size: 3,
            query_heads: 2,
            vocab_size: 5,
            reference: true,
            micro_batch_groups: 1,
            head_chunk: 4,
            recompute,
        };
        let load = Workload {
            prompts: 3,
            num_generations: 2,
            prompt_tokens: 10,
            completion_tokens: 6,
        };
        let plan = |recompute| MemoryPlan::of(&shape(recompute), &load);
        let kept = plan(0);
        let tokens = 10 + 2 * 6;
        let numbers = tokens * 12 * 7 + 2 * probabilities(&load, 12);
        let logits = 2 * 4 * 5 * 4;
        assert_eq!(kept.activations, numbers * 2 + logits);
        let again = plan(4);
        let numbers = numbers / 12 * 4 + tokens * 3 * 3;
        assert_eq!(again.activations, numbers * 2 + logits);
        let (bytes, wide) = (12 * 12 * 2, 12 * 12 * 4);
        let same = [again.parameters, again.reference, again.masters];
        assert_eq!(same, [bytes, bytes, wide]);
        assert_eq!([again.moments, again.gradients], [2 * wide, wide]);
    }

    #[test]
    fn probabilities_grow_with_the_square_of_a_prompt() {
        let load = |prompt_tokens, num_generations| Workload {
            prompts: 1,
            num_generations,
            prompt_tokens,
            completion_tokens: 4,
        };
        assert_eq!(probabilities(&load(100, 0), 3), 2 * 5000);
        assert_eq!(probabilities(&load(200, 0), 3), 2 * 20_000);
        assert_eq!(probabilities(&load(100, 2), 3), 2 * 5000 + 3 * 2 * 4 * 102);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_is_known_on_linux() {
        assert!(peak_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
