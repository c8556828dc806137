use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Tensor;
use visrl_grpo::{LossBatch, LossMetrics, Normalization, PolicyLoss};
use visrl_kernels::on_rayon_worker;
use visrl_vlm::{FeatureStore, ModelInput, VisionLanguageModel, trains_vision};

use crate::head::{Coefficients, head_backward, head_forward};
use crate::padded::{Rows, counts};
use crate::recompute::Recomputed;
use crate::reference::{check, refreshed};
use crate::rows::{Place, States, completion_states};
use crate::{
    AdamW, Error, Gradients, LearnGroup, LearnReport, LearnTimes, LearnerConfig, Scores, TokenGroup,
};

/// States of completions, and what computes them again where they are not tracked.
type Tracked = (States, Option<Recomputed>);

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
    /// A learner of this model. When the loss needs a reference policy, it is made of the model as
    /// it comes here, as [`LearnerConfig::reference`] says.
    ///
    /// `features` keeps image features as long as the vision tower is not trained; it may be
    /// shared with the rollout engine.
    pub fn new(
        model: M,
        mut loss: Box<dyn PolicyLoss<f32>>,
        features: Arc<FeatureStore>,
        config: LearnerConfig,
    ) -> Self {
        loss.set_step(0);
        let model = config.trainable.apply(model.train());
        let trains_vision = trains_vision(&model);
        let reference = loss.needs_reference().then(|| config.reference.of(&model));
        let optimizer = AdamW::with_groups(&config.adamw, &config.parameter_groups);
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

    /// The policy that the KL term compares with, if the loss has one.
    pub fn reference(&self) -> Option<&M> {
        self.reference.as_ref()
    }

    /// Policy, optimizer and number of updates: what a checkpoint holds of a learner.
    pub(crate) fn parts(&self) -> (&M, &AdamW, usize) {
        (&self.model, &self.optimizer, self.updates)
    }

    /// Puts what a checkpoint holds in the place of the present.
    pub(crate) fn restore(
        &mut self,
        model: M,
        reference: Option<M>,
        updates: usize,
        restore: impl FnOnce(&mut AdamW),
    ) {
        self.model = model;
        self.reference = reference;
        restore(&mut self.optimizer);
        self.updates = updates;
        self.loss.set_step(updates as u64);
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
        let model = self.model.valid();
        on_rayon_worker(&model.head(), || self.score_with(&model, groups))
    }

    /// Scores completions under the reference policy; nothing when the loss has no KL term.
    ///
    /// # Errors
    /// What the model says of unfit input.
    pub fn score_reference(&self, groups: &[TokenGroup]) -> Result<Option<Scores>, Error> {
        let reference = self.reference.as_ref();
        reference
            .map(|model| on_rayon_worker(&model.head(), || self.score_with(model, groups)))
            .transpose()
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
            let states = self.states(model, part)?;
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

    /// A tensor that lies where the model does.
    fn place(&self) -> Tensor<2> {
        self.model.valid().head()
    }

    fn states(&self, model: &M, groups: &[TokenGroup]) -> Result<States, Error> {
        completion_states(
            model,
            self.kept_features(),
            groups,
            self.config.shared_prefix,
        )
    }

    /// States that gradients can be had of: tracked, or with what computes them again.
    fn tracked_states(
        &self,
        groups: &[LearnGroup],
        tokens: &[TokenGroup],
    ) -> Result<Tracked, Error> {
        let loss = &self.loss;
        let silent = |group: &LearnGroup| group.advantages.iter().all(|a| *a == 0.0);
        let idle = !loss.needs_reference() && !loss.has_entropy_grad() && groups.iter().all(silent);
        let every = match self.config.recompute {
            // Most likely nothing will be asked: then no gradients need to be recorded.
            0 if idle => self.model.info().layers,
            every => every,
        };
        if every == 0 {
            return Ok((self.states(&self.model, tokens)?, None));
        }
        let features = self.kept_features();
        let shared_prefix = self.config.shared_prefix;
        let (states, recomputed) =
            Recomputed::forward(&self.model, features, tokens, shared_prefix, every)?;
        Ok((states, Some(recomputed)))
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
            on_rayon_worker(&self.place(), || {
                for image in inputs.iter().flat_map(|input| &input.images) {
                    store.get(&self.model, std::slice::from_ref(image))?;
                }
                Ok::<_, Error>(())
            })?;
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
        on_rayon_worker(&self.place(), || self.update_here(groups, learning_rate))
    }

    fn update_here(
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
        // A resumed run goes on at the step that its checkpoint says.
        self.loss.set_step(self.updates as u64);
        let mut times = LearnTimes::default();
        let mut clock = Instant::now();
        let reference = self.score_reference(&tokens)?.map(|scores| scores.logps);
        lap(&mut clock, &mut times.reference);
        let effective = |group: &&LearnGroup| group.advantages.iter().any(|a| *a != 0.0);
        let effective_groups = groups.iter().filter(effective).count();
        let mut old = None;
        let mut report = None;
        for update in 0..self.config.updates_per_batch.max(1) {
            let (gradients, loss, metrics, logps) = self.gradients_with(
                groups,
                &tokens,
                reference.as_ref(),
                old.as_ref(),
                &mut times,
            )?;
            if !loss.is_finite() {
                return Err(Error::NotFinite {
                    what: "the loss",
                    step: self.updates,
                });
            }
            clock = Instant::now();
            let grad_norm = self.apply_here(gradients, learning_rate)?;
            lap(&mut clock, &mut times.optimizer);
            report = Some(LearnReport {
                loss,
                metrics,
                grad_norm,
                effective_groups,
                times,
            });
            if update == 0 {
                old = Some(logps);
            }
        }
        report.ok_or_else(|| Error::config("updates_per_batch", "must be at least 1"))
    }

    /// Clips gradients to the configured norm, makes an optimizer step and returns the norm before
    /// clipping. The reference follows where it is its turn.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the norm is not a number, [`Error::Config`] when the reference
    /// cannot follow as configured; the policy stays as it was.
    pub fn apply(&mut self, gradients: Gradients, learning_rate: f64) -> Result<f64, Error> {
        on_rayon_worker(&self.place(), || self.apply_here(gradients, learning_rate))
    }

    fn apply_here(&mut self, mut gradients: Gradients, learning_rate: f64) -> Result<f64, Error> {
        let norm = gradients.clip(self.config.max_grad_norm)?;
        if !norm.is_finite() {
            return Err(Error::NotFinite {
                what: "the gradient",
                step: self.updates,
            });
        }
        let updates = self.updates + 1;
        let refresh = self.config.reference_refresh;
        let mix = refresh.after(updates as u64);
        if let (Some(reference), Some(mix)) = (&self.reference, mix) {
            refresh.validate()?;
            check(reference, &self.model, mix)?;
        }
        let model = self.model.clone();
        self.model = self.optimizer.step(model, &gradients, learning_rate);
        self.updates = updates;
        self.loss.set_step(updates as u64);
        if let (Some(reference), Some(mix)) = (&self.reference, mix) {
            self.reference = Some(refreshed(reference, &self.model, mix));
        }
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
        let own = match reference {
            Some(_) => None,
            None => self.score_reference(&tokens)?.map(|scores| scores.logps),
        };
        let reference = reference.or(own.as_ref());
        let (gradients, loss, ..) = on_rayon_worker(&self.place(), || {
            let times = &mut LearnTimes::default();
            self.gradients_with(groups, &tokens, reference, None, times)
        })?;
        Ok((loss, gradients))
    }

    /// The counts of a whole batch, for its pieces.
    fn counts(&self, groups: &[LearnGroup], tokens: &[TokenGroup]) -> Result<Normalization, Error> {
        let entropies = match self.loss.needs_entropies() {
            true => Some(self.score(tokens)?.entropies),
            false => None,
        };
        Ok(counts(&*self.loss, groups, entropies)?)
    }

    #[allow(clippy::type_complexity)]
    fn gradients_with(
        &self,
        groups: &[LearnGroup],
        tokens: &[TokenGroup],
        reference: Option<&Vec<Vec<Vec<f32>>>>,
        old: Option<&Vec<Vec<Vec<f32>>>>,
        times: &mut LearnTimes,
    ) -> Result<(Gradients, f64, LossMetrics, Vec<Vec<Vec<f32>>>), Error> {
        let mut clock = Instant::now();
        let several = self.micro_batches(groups).nth(1).is_some();
        let counts = match several {
            true => Some(self.counts(groups, tokens)?),
            false => None,
        };
        let mut gradients = Gradients::default();
        let mut loss = 0.0;
        let mut metrics: Option<LossMetrics> = None;
        let mut all: Vec<Vec<Vec<f32>>> = tokens
            .iter()
            .map(|g| vec![Vec::new(); g.completions.len()])
            .collect();
        for (start, part) in self.micro_batches(tokens) {
            let own = &groups[start..start + part.len()];
            let (states, recomputed) = self.tracked_states(own, part)?;
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
            let rows = Rows::new(&places, groups);
            let gather = |all: &Vec<Vec<Vec<f32>>>| -> Vec<f32> {
                let rows = places.iter().flat_map(|&(g, i, _)| &all[g][i]);
                rows.copied().collect()
            };
            let reference = reference.map(gather);
            let old = old.map(gather);
            let mut batch = LossBatch::new(&rows.ends, &pass.logps, &rows.advantages)
                .with_entropies(&pass.entropies)
                .with_truncated(&rows.truncated);
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
            let (of_logp, of_entropy) = (output.grad, output.entropy_grad);
            let coefficients = Coefficients {
                logp: &of_logp,
                entropy: of_entropy.as_deref(),
            };
            let nothing = of_logp
                .iter()
                .chain(of_entropy.iter().flatten())
                .all(|c| *c == 0.0);
            lap(&mut clock, &mut times.forward);
            if nothing {
                if recomputed.is_none() {
                    // A recorded graph stays in memory until it is differentiated.
                    drop(states.hidden.sum().backward());
                }
                lap(&mut clock, &mut times.backward);
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
            if let Some(recomputed) = recomputed {
                let features = self.kept_features();
                recomputed.backward(&self.model, features, d_hidden, &mut gradients)?;
                lap(&mut clock, &mut times.backward);
                continue;
            }
            // d loss / d parameters = d (hidden . d_hidden) / d parameters with d_hidden fixed.
            let surrogate = (states.hidden * d_hidden.autodiff()).sum();
            gradients.add_all(Gradients::take(surrogate.backward(), &self.model));
            lap(&mut clock, &mut times.backward);
        }
        // A batch that asks nothing leaves the policy as it is.
        if !gradients.is_empty() {
            gradients.complete(&self.model);
        }
        Ok((gradients, loss, metrics.unwrap_or_default(), all))
    }
}

/// Adds what the clock has run to a sum of seconds, and sets it back.
fn lap(clock: &mut Instant, seconds: &mut f64) {
    *seconds += clock.elapsed().as_secs_f64();
    *clock = Instant::now();
}
