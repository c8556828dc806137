use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_grpo::{LossMetrics, PolicyLoss, TokenBatch};
use visrl_vlm::{FeatureStore, ModelInput, Trainable, VisionLanguageModel, trains_vision};

use crate::head::{Coefficients, head_backward, head_forward};
use crate::rows::{Place, completion_states};
use crate::{AdamW, AdamWSettings, Error, Gradients, TokenGroup};

/// How a [`Learner`] updates the policy. The defaults are the paper's where it says one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnerConfig {
    /// The optimizer.
    pub adamw: AdamWSettings,
    /// The largest global norm of the gradient.
    pub max_grad_norm: f64,
    /// Optimizer updates per batch of completions; from the second on, the log-probabilities of
    /// the first are the old policy's.
    pub updates_per_batch: usize,
    /// Groups that run through the model together; 0 takes all. The result does not depend on it.
    pub micro_batch_groups: usize,
    /// Tokens that go through the head together.
    pub head_chunk: usize,
    /// The parts of the model that are trained.
    pub trainable: Trainable,
}

impl Default for LearnerConfig {
    fn default() -> Self {
        Self {
            adamw: AdamWSettings::default(),
            max_grad_norm: 1.0,
            updates_per_batch: 1,
            micro_batch_groups: 0,
            head_chunk: 1024,
            trainable: Trainable::default(),
        }
    }
}

/// The completions of one prompt with what each is worth.
#[derive(Clone, Debug)]
pub struct LearnGroup {
    /// Prompt and completions.
    pub tokens: TokenGroup,
    /// One advantage per completion.
    pub advantages: Vec<f32>,
    /// Whether each completion was cut at the length limit.
    pub truncated: Vec<bool>,
}

/// What an update did.
#[derive(Clone, Debug)]
pub struct LearnReport {
    /// The loss before the (last) update.
    pub loss: f64,
    /// What the loss saw: KL, ratios, clip fractions, entropy.
    pub metrics: LossMetrics,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
}

/// Log-probabilities and entropies of completions, `[group][completion][token]`, in nats.
#[derive(Clone, Debug)]
pub struct Scores {
    /// Log-probability of each token under the full softmax.
    pub logps: Vec<Vec<Vec<f32>>>,
    /// Entropy of the distribution each token was drawn from.
    pub entropies: Vec<Vec<Vec<f32>>>,
}

/// Computes gradients of a [`PolicyLoss`] and applies them to a model.
///
/// The loss sees log-probabilities only. Its coefficients d loss / d logp go back through the head
/// in chunks, then through the decoder, where image and prompt were encoded once per group, and,
/// if it is trained, through the vision tower.
pub struct Learner<M> {
    model: M,
    reference: Option<M>,
    loss: Box<dyn PolicyLoss<f32>>,
    optimizer: AdamW,
    features: Arc<FeatureStore>,
    config: LearnerConfig,
    trains_vision: bool,
    updates: usize,
}

impl<M: std::fmt::Debug> std::fmt::Debug for Learner<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learner")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl<M: VisionLanguageModel> Learner<M> {
    /// A learner of this model. When the loss needs a reference policy, it is the model as it
    /// comes here, frozen.
    ///
    /// `features` keeps image features as long as the vision tower is not trained; it may be
    /// shared with the rollout engine.
    pub fn new(
        model: M,
        loss: Box<dyn PolicyLoss<f32>>,
        features: Arc<FeatureStore>,
        config: LearnerConfig,
    ) -> Self {
        let model = config.trainable.apply(model.train());
        let trains_vision = trains_vision(&model);
        let reference = loss.needs_reference().then(|| model.valid());
        let optimizer = AdamW::new(&config.adamw);
        Self {
            model,
            reference,
            loss,
            optimizer,
            features,
            config,
            trains_vision,
            updates: 0,
        }
    }

    /// The policy as it is now, tracking gradients.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The settings.
    pub fn config(&self) -> &LearnerConfig {
        &self.config
    }

    /// Whether a frozen reference policy is held beside the policy.
    pub fn has_reference(&self) -> bool {
        self.reference.is_some()
    }

    /// Policy, optimizer and number of updates: what a checkpoint holds of a learner.
    pub(crate) fn parts(&self) -> (&M, &AdamW, usize) {
        (&self.model, &self.optimizer, self.updates)
    }

    /// As [`parts`](Self::parts), to put a checkpoint's in their place.
    pub(crate) fn parts_mut(&mut self) -> (&mut M, &mut AdamW, &mut usize) {
        (&mut self.model, &mut self.optimizer, &mut self.updates)
    }

    /// The policy, for saving or further use.
    pub fn into_model(self) -> M {
        self.model
    }

    /// Scores completions under the policy, without gradients.
    ///
    /// # Errors
    /// What the model says of unfit input.
    pub fn score(&self, groups: &[TokenGroup]) -> Result<Scores, Error> {
        self.score_with(&self.model.valid(), groups)
    }

    fn score_with(&self, model: &M, groups: &[TokenGroup]) -> Result<Scores, Error> {
        let empty = || {
            groups
                .iter()
                .map(|g| vec![Vec::new(); g.completions.len()])
                .collect()
        };
        let mut scores = Scores {
            logps: empty(),
            entropies: empty(),
        };
        for (start, part) in self.micro_batches(groups) {
            let states = completion_states(model, self.kept_features(), part)?;
            let hidden = states.hidden;
            let pass = head_forward(
                model,
                &hidden,
                &states.targets,
                self.config.head_chunk,
                false,
            )?;
            let mut at = 0;
            for &(group, index, len) in &states.places {
                let range = at..at + len;
                scores.logps[start + group][index] = pass.logps[range.clone()].to_vec();
                scores.entropies[start + group][index] = pass.entropies[range].to_vec();
                at += len;
            }
        }
        Ok(scores)
    }

    /// The store of features, when the tower that made them stays as it is.
    fn kept_features(&self) -> Option<&FeatureStore> {
        (!self.trains_vision).then_some(&*self.features)
    }

    /// Encodes the images of a step that are not kept yet, one at a time. Encoded together, the last
    /// bits of their features would depend on which of them were kept before, which is not the
    /// same after a resume.
    pub(crate) fn keep_features(&self, inputs: &[Arc<ModelInput>]) -> Result<(), Error> {
        if let Some(store) = self.kept_features() {
            for image in inputs.iter().flat_map(|input| &input.images) {
                store.get(&self.model, std::slice::from_ref(image))?;
            }
        }
        Ok(())
    }

    fn micro_batches<'a, T>(&self, groups: &'a [T]) -> impl Iterator<Item = (usize, &'a [T])> {
        let size = match self.config.micro_batch_groups {
            0 => groups.len().max(1),
            size => size,
        };
        groups
            .chunks(size)
            .enumerate()
            .map(move |(index, part)| (index * size, part))
    }

    /// Updates the policy on a batch of groups: one optimizer step, or as many as configured.
    ///
    /// # Errors
    /// What the model or the loss says of unfit input; [`Error::NotFinite`] when loss or gradient
    /// diverge, in which case the policy stays as it was before that step.
    #[tracing::instrument(skip_all)]
    pub fn update(
        &mut self,
        groups: &[LearnGroup],
        learning_rate: f64,
    ) -> Result<LearnReport, Error> {
        let tokens: Vec<TokenGroup> = groups.iter().map(|group| group.tokens.clone()).collect();
        for group in groups {
            let count = group.tokens.completions.len();
            if group.advantages.len() != count || group.truncated.len() != count {
                return Err(Error::config(
                    "advantages",
                    format!("and `truncated` must hold one value for each of {count} completions"),
                ));
            }
        }
        if tokens.iter().all(|group| group.completions.is_empty()) {
            return Err(Error::config("groups", "hold no completion to learn from"));
        }
        let reference = match &self.reference {
            Some(reference) => Some(self.score_with(reference, &tokens)?.logps),
            None => None,
        };
        let mut old = None;
        let mut report = None;
        for update in 0..self.config.updates_per_batch.max(1) {
            let (gradients, loss, metrics, logps) =
                self.gradients_with(groups, &tokens, reference.as_ref(), old.as_ref())?;
            if !loss.is_finite() {
                return Err(Error::NotFinite {
                    what: "the loss",
                    step: self.updates,
                });
            }
            let grad_norm = self.apply(gradients, learning_rate)?;
            report = Some(LearnReport {
                loss,
                metrics,
                grad_norm,
            });
            if update == 0 {
                old = Some(logps);
            }
        }
        report.ok_or_else(|| Error::config("updates_per_batch", "must be at least 1"))
    }

    /// Clips gradients to the configured norm, makes an optimizer step and returns the norm before
    /// clipping.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the norm is not a number; the policy stays as it was.
    pub fn apply(&mut self, mut gradients: Gradients, learning_rate: f64) -> Result<f64, Error> {
        let norm = gradients.clip(self.config.max_grad_norm)?;
        if !norm.is_finite() {
            return Err(Error::NotFinite {
                what: "the gradient",
                step: self.updates,
            });
        }
        self.model = self
            .optimizer
            .step(self.model.clone(), &gradients, learning_rate);
        self.updates += 1;
        if self.trains_vision {
            self.features.clear();
        }
        Ok(norm)
    }

    /// The loss and its gradients on a batch, without an update.
    ///
    /// `reference` gives the reference policy's log-probabilities, `[group][completion][token]`,
    /// when they are not to be those of the learner's own reference.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn gradients(
        &self,
        groups: &[LearnGroup],
        reference: Option<&Vec<Vec<Vec<f32>>>>,
    ) -> Result<(f64, Gradients), Error> {
        let tokens: Vec<TokenGroup> = groups.iter().map(|group| group.tokens.clone()).collect();
        let own = match (&self.reference, reference) {
            (Some(model), None) => Some(self.score_with(model, &tokens)?.logps),
            _ => None,
        };
        let (gradients, loss, ..) =
            self.gradients_with(groups, &tokens, reference.or(own.as_ref()), None)?;
        Ok((loss, gradients))
    }

    #[allow(clippy::type_complexity)]
    fn gradients_with(
        &self,
        groups: &[LearnGroup],
        tokens: &[TokenGroup],
        reference: Option<&Vec<Vec<Vec<f32>>>>,
        old: Option<&Vec<Vec<Vec<f32>>>>,
    ) -> Result<(Gradients, f64, LossMetrics, Vec<Vec<Vec<f32>>>), Error> {
        let several = self.micro_batches(groups).nth(1).is_some();
        let counts = several.then(|| self.counts(groups, tokens)).transpose()?;
        let mut gradients = Gradients::default();
        let mut loss = 0.0;
        let mut metrics: Option<LossMetrics> = None;
        let mut all: Vec<Vec<Vec<f32>>> = tokens
            .iter()
            .map(|g| vec![Vec::new(); g.completions.len()])
            .collect();
        for (start, part) in self.micro_batches(tokens) {
            let states = completion_states(&self.model, self.kept_features(), part)?;
            let hidden = states.hidden.clone().without_autodiff();
            let pass = head_forward(
                &self.model,
                &hidden,
                &states.targets,
                self.config.head_chunk,
                true,
            )?;
            let places: Vec<Place> = states
                .places
                .iter()
                .map(|&(g, i, len)| (start + g, i, len))
                .collect();
            let padded = Padded::new(&places, groups);
            let logps = padded.fill(&pass.logps);
            let entropies = padded.fill(&pass.entropies);
            let gather = |all: &Vec<Vec<Vec<f32>>>| {
                let flat: Vec<f32> = places
                    .iter()
                    .flat_map(|&(g, i, _)| all[g][i].iter().copied())
                    .collect();
                padded.fill(&flat)
            };
            let reference = reference.map(gather);
            let old = old.map(gather);
            let mut batch = TokenBatch::new(padded.len, &logps, &padded.mask, &padded.advantages)
                .with_entropies(&entropies)
                .with_truncated(&padded.truncated);
            batch.ref_logps = reference.as_deref();
            batch.old_logps = old.as_deref();
            batch.normalization = counts;
            let output = self.loss.evaluate(&batch)?;
            loss += output.loss;
            match &mut metrics {
                Some(metrics) => metrics.merge(&output.metrics),
                None => metrics = Some(output.metrics),
            }
            let mut at = 0;
            for &(group, index, len) in &places {
                all[group][index] = pass.logps[at..at + len].to_vec();
                at += len;
            }
            let of_logp = padded.flatten(&output.grad);
            let of_entropy = output.entropy_grad.map(|grad| padded.flatten(&grad));
            let coefficients = Coefficients {
                logp: &of_logp,
                entropy: of_entropy.as_deref(),
            };
            let nothing = of_logp
                .iter()
                .chain(of_entropy.iter().flatten())
                .all(|c| *c == 0.0);
            if nothing {
                continue;
            }
            let d_hidden = head_backward(
                &self.model,
                &hidden,
                &states.targets,
                &coefficients,
                pass,
                &mut gradients,
            );
            // d loss / d parameters = d (hidden . d_hidden) / d parameters with d_hidden fixed.
            let surrogate = (states.hidden * d_hidden.autodiff()).sum();
            gradients.add_all(Gradients::take(surrogate.backward(), &self.model));
        }
        Ok((gradients, loss, metrics.unwrap_or_default(), all))
    }

    /// The counts of a whole batch, for its pieces.
    fn counts(
        &self,
        groups: &[LearnGroup],
        tokens: &[TokenGroup],
    ) -> Result<visrl_grpo::Normalization, Error> {
        let places: Vec<Place> = tokens
            .iter()
            .enumerate()
            .flat_map(|(g, group)| {
                group
                    .completions
                    .iter()
                    .enumerate()
                    .map(move |(i, ids)| (g, i, ids.len()))
            })
            .collect();
        let padded = Padded::new(&places, groups);
        let logps = vec![0.0; padded.mask.len()];
        let entropies = match self.loss.needs_entropies() {
            false => None,
            true => {
                let scores = self.score(tokens)?;
                let flat: Vec<f32> = scores.entropies.into_iter().flatten().flatten().collect();
                Some(padded.fill(&flat))
            }
        };
        let mut batch = TokenBatch::new(padded.len, &logps, &padded.mask, &padded.advantages)
            .with_truncated(&padded.truncated)
            .with_ref_logps(&logps);
        batch.entropies = entropies.as_deref();
        Ok(self.loss.normalization(&batch)?)
    }
}

/// Rows of different lengths as `[rows, len]`, the form that losses read.
struct Padded {
    lengths: Vec<usize>,
    len: usize,
    mask: Vec<bool>,
    advantages: Vec<f32>,
    truncated: Vec<bool>,
}

impl Padded {
    fn new(places: &[Place], groups: &[LearnGroup]) -> Self {
        let lengths: Vec<usize> = places.iter().map(|&(_, _, len)| len).collect();
        let len = lengths.iter().copied().max().unwrap_or(0);
        let mask = lengths
            .iter()
            .flat_map(|&own| (0..len).map(move |token| token < own))
            .collect();
        let advantages = places
            .iter()
            .map(|&(g, i, _)| groups[g].advantages[i])
            .collect();
        let truncated = places
            .iter()
            .map(|&(g, i, _)| groups[g].truncated[i])
            .collect();
        Self {
            lengths,
            len,
            mask,
            advantages,
            truncated,
        }
    }

    fn fill(&self, flat: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.mask.len()];
        let mut at = 0;
        for (row, &own) in out.chunks_mut(self.len.max(1)).zip(&self.lengths) {
            row[..own].copy_from_slice(&flat[at..at + own]);
            at += own;
        }
        out
    }

    fn flatten(&self, padded: &[f32]) -> Vec<f32> {
        let rows = padded.chunks(self.len.max(1)).zip(&self.lengths);
        rows.flat_map(|(row, &own)| row[..own].iter().copied())
            .collect()
    }
}
