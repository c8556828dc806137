use std::sync::Arc;

use burn::tensor::Tensor;
use visrl_core::TokenRows;
use visrl_grpo::PolicyLoss;
use visrl_kernels::on_rayon_worker;
use visrl_vlm::{FeatureStore, ModelInput, VisionLanguageModel, trains_vision, visit_parameters};

use super::batch::Batch;
use super::clock::Clock;
use super::config::LearnerConfig;
use super::decoder::hidden_states;
use super::groups::{LearnGroup, TokenGroup};
use super::head;
use super::log_probs::LogProbs;
use super::loss_inputs::LossInputs;
use super::reference::{check, refreshed};
use super::report::{LearnReport, LearnTimes};
use crate::error::Error;
use crate::optimizer::{AdamW, Gradients};

/// Computes gradients of a [`PolicyLoss`] and applies them to a model.
///
/// The loss sees log-probabilities only. Its coefficients d loss / d logp go back through the head
/// in chunks, then through the decoder, where image and prompt were encoded once per group, and,
/// if it is trained, through the vision tower.
pub struct Learner<M> {
    pub(super) model: M,
    reference: Option<M>,
    pub(super) loss: Box<dyn PolicyLoss<f32>>,
    optimizer: AdamW,
    features: Arc<FeatureStore>,
    pub(super) config: LearnerConfig,
    trains_vision: bool,
    /// Whether any parameter is trained.
    trains: bool,
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
        let mut trains = false;
        visit_parameters(&model, |parameter| trains |= parameter.trainable);
        let optimizer = AdamW::with_groups(&config.adamw, &config.parameter_groups);
        Self {
            model,
            reference,
            loss,
            optimizer,
            features,
            config,
            trains_vision,
            trains,
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

    /// Checks the settings and that the model fits them: something is trained, each group of
    /// parameters holds some of it, and the reference can be refreshed. [`update`](Self::update) and [`gradients`](Self::gradients)
    /// refuse a learner that trains nothing, too.
    ///
    /// # Errors
    /// [`Error::Config`] names the setting.
    pub fn check(&self) -> Result<(), Error> {
        self.config.validate()?;
        self.check_trainable()?;
        self.check_refresh()?;
        self.check_recompute()?;
        let groups = &self.config.parameter_groups;
        let (mut named, mut held) = (vec![false; groups.len()], vec![false; groups.len()]);
        visit_parameters(&self.model, |parameter| {
            let axes = parameter.shape.len();
            let mut belongs = (0..groups.len())
                .filter(|&at| parameter.trainable && groups[at].contains(&parameter.name, axes));
            // The first group that a parameter belongs to counts.
            if let Some(first) = belongs.next() {
                (named[first], held[first]) = (true, true);
                belongs.for_each(|at| named[at] = true);
            }
        });
        let Some(empty) = held.iter().position(|held| !held) else {
            return Ok(());
        };
        let pattern = groups[empty].names.as_str();
        let why = match named[empty] {
            true => "names only parameters that belong to groups before it",
            false => "names no parameter that is trained; names are those of Hugging Face's files",
        };
        let number = empty + 1;
        let message = format!("group {number} (`{pattern}`) {why}: change or remove it");
        Err(Error::config("parameter_groups", message))
    }

    /// Checks that there are as many layers as are to be computed again together.
    fn check_recompute(&self) -> Result<(), Error> {
        let (every, layers) = (self.config.recompute, self.model.info().layers);
        if every <= layers {
            return Ok(());
        }
        let message = format!("is {every}, expected 0 to {layers}, the layers of the model");
        Err(Error::config("recompute", message))
    }

    /// Checks that the reference can follow the policy by the shares that are set.
    fn check_refresh(&self) -> Result<(), Error> {
        let refresh = self.config.reference_refresh;
        let (Some(reference), Some(every)) = (&self.reference, refresh.every) else {
            return Ok(());
        };
        let shares = [every, u64::MAX].map(|step| refresh.mix.at(step));
        let mut shares = shares.into_iter();
        shares.try_for_each(|mix| check(reference, &self.model, mix))
    }

    fn check_trainable(&self) -> Result<(), Error> {
        if self.trains {
            return Ok(());
        }
        let message = "leaves no parameter to train: switch on a part of the model, and where there \
                       are adapters (`lora`), the part that they sit in";
        Err(Error::config("trainable", message))
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

    /// Log-probabilities and entropies of completions under the policy, without gradients.
    ///
    /// # Errors
    /// [`Error::Config`] for a completion without tokens; [`Error::Model`] for input that does not
    /// fit the model.
    pub fn log_probs(&self, groups: &[TokenGroup]) -> Result<LogProbs, Error> {
        self.log_probs_under(&self.model.valid(), groups)
    }

    /// The same under the reference policy; nothing when the loss has no KL term.
    ///
    /// # Errors
    /// As [`log_probs`](Self::log_probs).
    pub fn reference_log_probs(&self, groups: &[TokenGroup]) -> Result<Option<LogProbs>, Error> {
        let reference = self.reference.as_ref();
        reference
            .map(|model| self.log_probs_under(model, groups))
            .transpose()
    }

    /// Updates the policy on a batch of groups: one optimizer step, or as many as configured.
    ///
    /// # Errors
    /// [`Error::Config`] when a field of a group does not fit its completions or nothing is
    /// trained, [`Error::Model`] or [`Error::Grpo`] when the model or the loss cannot use them; [`Error::NotFinite`] when loss
    /// or gradient diverge, in which case the policy stays as it was before that step.
    #[tracing::instrument(skip_all)]
    pub fn update(
        &mut self,
        groups: &[LearnGroup],
        learning_rate: f64,
    ) -> Result<LearnReport, Error> {
        self.check_trainable()?;
        on_rayon_worker(&self.place(), || self.learn(groups, learning_rate))
    }

    /// Clips gradients to the configured norm, makes an optimizer step and returns the norm before
    /// clipping. The reference follows where it is its turn.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the norm is not a number, [`Error::Config`] when the reference
    /// cannot follow as configured; the policy stays as it was.
    pub fn apply(&mut self, gradients: Gradients, learning_rate: f64) -> Result<f64, Error> {
        on_rayon_worker(&self.place(), || {
            self.optimizer_step(gradients, learning_rate)
        })
    }

    /// The loss and its gradients on a batch, without an update.
    ///
    /// `reference` gives the reference policy's log-probabilities, one row per completion, group by
    /// group, when they are not to be those of the learner's own reference.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn gradients(
        &self,
        groups: &[LearnGroup],
        reference: Option<&TokenRows<f32>>,
    ) -> Result<(f64, Gradients), Error> {
        self.check_trainable()?;
        on_rayon_worker(&self.place(), || {
            let batch = Batch::new(groups.iter().map(|group| &group.tokens), &self.config)?;
            let mut inputs = LossInputs::new(&batch, groups)?;
            inputs.ref_logps = match reference {
                Some(logps) => Some(batch.order_tokens("reference", logps)?),
                None => self.reference_logps(&batch)?,
            };
            let times = &mut LearnTimes::default();
            let found = self.forward_backward(&batch, &mut inputs, times)?;
            Ok((found.loss, found.gradients))
        })
    }

    /// Encodes the images of a step that are not kept yet, one at a time. Encoded together, the
    /// last bits of their features would depend on which of them were kept before, which is not the
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

    fn log_probs_under(&self, model: &M, groups: &[TokenGroup]) -> Result<LogProbs, Error> {
        on_rayon_worker(&model.head(), || {
            let batch = Batch::new(groups, &self.config)?;
            let (logps, entropies) = self.log_probs_of(model, &batch)?;
            Ok(LogProbs {
                logps: batch.restore(&logps),
                entropies: batch.restore(&entropies),
            })
        })
    }

    /// Log-probabilities and entropies without gradients, in the batch's order.
    pub(super) fn log_probs_of(
        &self,
        model: &M,
        batch: &Batch<'_>,
    ) -> Result<(Vec<f32>, Vec<f32>), Error> {
        let (mut logps, mut entropies) = (Vec::new(), Vec::new());
        for part in batch.micro_batches() {
            let hidden = hidden_states(model, self.kept_features(), part)?;
            let chunk = self.config.head_chunk;
            let found = head::forward(model, &hidden, &part.targets, chunk, false)?;
            logps.extend(found.logps);
            entropies.extend(found.entropies);
        }
        Ok((logps, entropies))
    }

    /// What the KL term compares with, where the loss has one.
    fn reference_logps(&self, batch: &Batch<'_>) -> Result<Option<Vec<f32>>, Error> {
        let reference = self.reference.as_ref();
        reference
            .map(|model| Ok(self.log_probs_of(model, batch)?.0))
            .transpose()
    }

    /// The store of features, when the tower that made them stays as it is.
    pub(super) fn kept_features(&self) -> Option<&FeatureStore> {
        (!self.trains_vision).then_some(&*self.features)
    }

    /// A tensor that lies where the model does.
    fn place(&self) -> Tensor<2> {
        self.model.valid().head()
    }

    fn learn(&mut self, groups: &[LearnGroup], learning_rate: f64) -> Result<LearnReport, Error> {
        let batch = Batch::new(groups.iter().map(|group| &group.tokens), &self.config)?;
        let mut inputs = LossInputs::new(&batch, groups)?;
        if batch.rows() == 0 {
            return Err(Error::config("groups", "hold no completion to learn from"));
        }
        // A resumed run goes on at the step that its checkpoint says.
        self.loss.set_step(self.updates as u64);
        let mut times = LearnTimes::default();
        let mut clock = Clock::start();
        inputs.ref_logps = self.reference_logps(&batch)?;
        clock.lap(&mut times.reference);
        let (mut report, mut drift) = (None, None);
        for update in 0..self.config.updates_per_batch.max(1) {
            let found = self.forward_backward(&batch, &mut inputs, &mut times)?;
            if !found.loss.is_finite() {
                return Err(Error::NotFinite {
                    what: "the loss",
                    step: self.updates,
                });
            }
            if update == 0 {
                drift = inputs.drift();
            }
            clock = Clock::start();
            let grad_norm = self.optimizer_step(found.gradients, learning_rate)?;
            clock.lap(&mut times.optimizer);
            report = Some(LearnReport {
                loss: found.loss,
                metrics: found.metrics,
                drift,
                grad_norm,
                effective_groups: groups.iter().filter(|group| group.is_effective()).count(),
                times,
            });
            if update == 0 {
                inputs.old_logps = Some(inputs.logps.clone());
            }
        }
        report.ok_or_else(|| Error::config("updates_per_batch", "must be at least 1"))
    }

    fn optimizer_step(
        &mut self,
        mut gradients: Gradients,
        learning_rate: f64,
    ) -> Result<f64, Error> {
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
}
