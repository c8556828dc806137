use super::bound::Bound::{self, Real, Whole, ZeroOr};

/// The largest whole number of a file in TOML.
pub(super) const MOST_WHOLE: u64 = i64::MAX as u64;
/// Draws are functions of the step as a number of 32 bits.
pub(crate) const MOST_STEPS: usize = u32::MAX as usize;
/// The most completions of a step.
pub(crate) const MOST_ROWS: usize = 1 << 20;

const STEPS: u64 = u32::MAX as u64;
/// The most prompts of a step, completions of a prompt and rounds of resampling: far more than any
/// use, so that no product of them overflows.
const MANY: u64 = 1 << 16;
/// The most tokens of a text: more than any model's context.
const TOKENS: u64 = 1 << 24;
/// The most pixels of an image: more than any decoder takes.
const PIXELS: u64 = 1 << 40;

/// Whole numbers of which each has its meaning.
const ANY: Bound = Whole(0, MOST_WHOLE);
/// As many as there are, at least one.
const SOME: Bound = Whole(1, MOST_WHOLE);
/// A part of a whole, which is not nothing.
const PART: Bound = Real(1e-6, 1.0);
/// The weight of a term of the loss.
const TERM: Bound = Real(0.0, 1e3);
/// A distance from 1 that a ratio may have.
const CLIP: Bound = Real(0.0, 1e3);
/// Added to a standard deviation of rewards.
const SMALL: Bound = Real(1e-12, 1.0);
const DECAY: Bound = Real(0.0, 1e3);
const ALPHA: Bound = Real(1e-3, 1e5);
const RANK: Bound = Whole(1, 1 << 14);

/// What each number of a run's file may be, by its full name; `*` is a place in a list or a name in a
/// map, `**` any number of them. Upper ends are far above any use, and below what would end a run with numbers that are none.
/// The part `test` has the names of `data`.
pub(super) const TABLE: &[(&str, Bound)] = &[
    ("model.load.pipeline.size", Whole(1, 1 << 14)),
    ("model.load.min_pixels", Whole(1, PIXELS)),
    ("model.load.max_pixels", Whole(1, PIXELS)),
    ("model.load.max_prompt_tokens", Whole(1, TOKENS)),
    ("model.load.limits.max_pixels", SOME),
    ("model.load.limits.max_bytes", SOME),
    ("data.shots", SOME),
    ("data.shot_seed", ANY),
    ("data.test_fraction", Real(1e-6, 0.999_999)),
    ("data.test_seed", ANY),
    ("data.source.options.seed", ANY),
    ("data.source.options.side", Whole(1, 1024)),
    ("data.source.options.train", Whole(1, 100_000)),
    ("data.source.options.test", Whole(1, 100_000)),
    ("data.source.options.turn", Real(0.0, 360.0)),
    ("data.source.options.noise", Real(0.0, 255.0)),
    ("data.source.options.limits.rows", SOME),
    ("data.source.options.limits.image_bytes", SOME),
    ("data.source.options.limits.page_bytes", SOME),
    ("data.source.options.limits.total_bytes", SOME),
    ("data.source.options.limits.items", SOME),
    ("data.source.options.limits.side", SOME),
    ("data.source.options.limits.bytes", SOME),
    ("recipe.rewards.*.weight", Real(-1e3, 1e3)),
    ("recipe.rewards.*.rule.max_length", Whole(1, TOKENS)),
    ("recipe.rewards.*.rule.buffer", Whole(0, TOKENS)),
    ("recipe.rewards.*.rule.ngram", Whole(1, TOKENS)),
    ("recipe.rewards.*.rule.max_penalty", Real(-1e3, 0.0)),
    ("recipe.rewards.*.rule.matcher.**.absolute", Real(0.0, 1e9)),
    ("recipe.rewards.*.rule.matcher.**.relative", Real(0.0, 1.0)),
    ("fine_tune.seed", ANY),
    ("fine_tune.steps", Whole(0, STEPS)),
    ("fine_tune.epochs", Whole(0, STEPS)),
    ("fine_tune.learning_rate", ZeroOr(1e-12, 1.0)),
    ("fine_tune.prompts_per_step", Whole(1, MANY)),
    ("fine_tune.num_generations", Whole(1, MANY)),
    ("fine_tune.resample_rounds", Whole(0, MANY)),
    ("fine_tune.max_staleness", Whole(0, 1024)),
    ("fine_tune.remote.max_requests", Whole(1, 4096)),
    ("fine_tune.remote.timeout", Real(1.0, 86_400.0)),
    ("fine_tune.remote.patience", Real(1.0, 86_400.0)),
    ("fine_tune.test_per_class", ANY),
    ("fine_tune.evaluate_every", ANY),
    ("fine_tune.patience", ANY),
    ("fine_tune.budget_seconds", Real(0.0, 1e9)),
    ("fine_tune.checkpoint_every", ANY),
    ("fine_tune.keep_checkpoints", SOME),
    ("fine_tune.samples", ANY),
    ("fine_tune.evaluation.pipeline.size", Whole(1, 1 << 14)),
    ("fine_tune.choices.fraction", PART),
    ("fine_tune.choices.all_below", ANY),
    ("fine_tune.choices.at_most", SOME),
    ("fine_tune.sampling.repetition_penalty", Real(1e-2, 1e2)),
    ("fine_tune.sampling.temperature", ZeroOr(1e-4, 1e3)),
    ("fine_tune.sampling.top_k", ANY),
    ("fine_tune.sampling.top_p", PART),
    ("fine_tune.sampling.min_p", Real(0.0, 1.0)),
    ("fine_tune.sampling.typical_p", PART),
    ("fine_tune.sampling.max_new_tokens", Whole(1, TOKENS)),
    ("fine_tune.advantage.epsilon", SMALL),
    ("fine_tune.loss.terms.beta", TERM),
    ("fine_tune.loss.terms.beta_schedule.value", TERM),
    ("fine_tune.loss.terms.beta_schedule.start", TERM),
    ("fine_tune.loss.terms.beta_schedule.end", TERM),
    ("fine_tune.loss.terms.beta_schedule.steps", Whole(0, STEPS)),
    ("fine_tune.loss.terms.entropy_coef", TERM),
    ("fine_tune.loss.terms.top_entropy_quantile", PART),
    (
        "fine_tune.loss.terms.off_policy_mask_threshold",
        Real(0.0, 1e6),
    ),
    (
        "fine_tune.loss.terms.importance_correction.clip_min",
        Real(0.0, 1e6),
    ),
    (
        "fine_tune.loss.terms.importance_correction.clip_max",
        Real(1e-6, 1e6),
    ),
    ("fine_tune.loss.family.epsilon", CLIP),
    ("fine_tune.loss.family.epsilon_high", CLIP),
    ("fine_tune.loss.family.delta", Real(1e-6, 1e6)),
    ("fine_tune.loss.family.clip.epsilon", CLIP),
    ("fine_tune.loss.family.clip.epsilon_high", CLIP),
    ("fine_tune.loss.family.clip.delta", Real(1e-6, 1e6)),
    (
        "fine_tune.loss.family.max_completion_length",
        Whole(1, TOKENS),
    ),
    ("fine_tune.loss.family.temperature_pos", Real(1e-3, 1e3)),
    ("fine_tune.loss.family.temperature_neg", Real(1e-3, 1e3)),
    ("fine_tune.loss.family.k_pos", Real(0.0, 1e2)),
    ("fine_tune.loss.family.k_neg", Real(0.0, 1e2)),
    ("fine_tune.loss.family.lambda_pos", Real(0.0, 1e2)),
    ("fine_tune.loss.family.lambda_neg", Real(0.0, 1e2)),
    ("fine_tune.learner.adamw.betas.*", Real(0.0, 0.999_999_9)),
    ("fine_tune.learner.adamw.epsilon", Real(1e-30, 1.0)),
    ("fine_tune.learner.adamw.weight_decay", DECAY),
    (
        "fine_tune.learner.parameter_groups.*.learning_rate",
        ZeroOr(1e-6, 1e6),
    ),
    ("fine_tune.learner.parameter_groups.*.weight_decay", DECAY),
    ("fine_tune.learner.max_grad_norm", Real(1e-9, 1e30)),
    ("fine_tune.learner.updates_per_batch", Whole(1, MANY)),
    ("fine_tune.learner.micro_batch_groups", Whole(0, MANY)),
    ("fine_tune.learner.recompute", Whole(0, MANY)),
    ("fine_tune.learner.head_chunk", Whole(1, TOKENS)),
    ("fine_tune.learner.reference_refresh.every", Whole(1, STEPS)),
    (
        "fine_tune.learner.reference_refresh.mix.value",
        Real(0.0, 1.0),
    ),
    (
        "fine_tune.learner.reference_refresh.mix.start",
        Real(0.0, 1.0),
    ),
    (
        "fine_tune.learner.reference_refresh.mix.end",
        Real(0.0, 1.0),
    ),
    (
        "fine_tune.learner.reference_refresh.mix.steps",
        Whole(0, STEPS),
    ),
    ("fine_tune.lora.r", RANK),
    ("fine_tune.lora.lora_alpha", ALPHA),
    ("fine_tune.lora.layers_to_transform", Whole(0, MANY)),
    ("fine_tune.lora.layers_to_transform.*", Whole(0, MANY)),
    ("fine_tune.lora.rank_pattern.*", RANK),
    ("fine_tune.lora.alpha_pattern.*", ALPHA),
];

/// The bound of the number with this full name, a part a place.
pub(super) fn bound(path: &[String]) -> Option<Bound> {
    let found = TABLE.iter().find(|(name, _)| is_meant(name, path));
    found.map(|(_, bound)| *bound)
}

/// Whether a name of the table means a number, by that name or by another one that a file may have.
pub(super) fn is_meant(name: &str, path: &[String]) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let same = |names: [&str; 3]| path.iter().zip(names).filter(|(a, b)| a == b).count() == 3;
    match path.split_first() {
        Some((first, below)) if first == "test" => parts[0] == "data" && fits(&parts[1..], below),
        _ if same(["fine_tune", "loss", "loss"]) => {
            let family = ["fine_tune", "loss", "family"];
            parts.starts_with(&family) && fits(&parts[3..], &path[3..])
        }
        _ => fits(&parts, path),
    }
}

fn fits(parts: &[&str], path: &[String]) -> bool {
    match (parts.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => {
            fits(rest, path)
                || path
                    .split_first()
                    .is_some_and(|(_, below)| fits(parts, below))
        }
        (Some((part, rest)), Some((found, below))) => {
            (*part == "*" || part == found) && fits(rest, below)
        }
        _ => false,
    }
}
