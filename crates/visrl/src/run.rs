//! What stays the same through a run, however it trains: base, measurements, samples, checkpoints.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use visrl_core::files::write_file;
use visrl_core::{Domain, Example, SeedStream};
use visrl_data::{Dataset, PromptTemplate, Split};
use visrl_rollout::LocalEngine;
use visrl_train::{
    CheckpointStore, EvaluationPoint, Learner, MemoryPlan, Start, StopCause, TrainState,
    Validation, Warnings, Workload, peak_memory,
};
use visrl_vlm::{
    CheckpointFiles, FeatureStore, Pretrained, PromptEncoder, SaveDtype, VisionLanguageModel,
    attach_lora, merge_lora, save_lora,
};

use crate::asks::Asks;
use crate::before_after::{BeforeAfter, Measured, Measurement};
use crate::error::Error;
use crate::fine_tune::FineTune;
use crate::fingerprint;
use crate::generation_config::files_to_save;
use crate::model_card::{ModelCard, base_name};
use crate::read_from::ReadFrom;
use crate::recipe::{Objective, Recipe};
use crate::resume::{self, Resumed, of_file};
use crate::run_engine::RunEngine;
use crate::run_folder::RunFolder;
use crate::samples::{SampleLog, write_images};
use crate::settings_check::of_lora;
use crate::summary::{DataNames, Memory, Summary, write_json};

/// Image features kept, at the most.
const FEATURES: usize = 4096;

/// A run before its first step.
pub(crate) struct Run<'a, M> {
    settings: &'a FineTune,
    recipe: &'a Recipe,
    data: DataNames,
    pub(crate) base: Pretrained<M>,
    /// What is saved beside the weights: the base's files, with the recipe's sampling.
    files: CheckpointFiles,
    /// Features of the training images.
    pub(crate) features: Arc<FeatureStore>,
    pub(crate) store: CheckpointStore,
    measurement: Measurement<M>,
    config: Value,
    file: Option<RunFile>,
}

/// A run's own file: where it was read, what it is written as, and as a value.
#[derive(Clone, Debug)]
pub(crate) struct RunFile {
    pub(crate) read_from: ReadFrom,
    pub(crate) text: String,
    pub(crate) value: Value,
}

/// A run that was begun: the base is measured.
pub(crate) struct BegunRun<'a, M> {
    pub(crate) run: Run<'a, M>,
    folder: RunFolder,
    before: Measured,
    samples: SampleLog,
}

/// How training ended.
pub(crate) struct Trained {
    pub(crate) state: TrainState,
    pub(crate) cause: StopCause,
    pub(crate) plan: MemoryPlan,
    pub(crate) warnings: Warnings,
    /// What the process held in bytes before the first step.
    pub(crate) held: Option<u64>,
}

impl<'a, M: VisionLanguageModel> Run<'a, M> {
    pub(crate) fn new(
        settings: &'a FineTune,
        base: Pretrained<M>,
        recipe: &'a Recipe,
        (train, test): (&dyn Dataset, &dyn Dataset),
        file: Option<RunFile>,
        warnings: &Warnings,
    ) -> Result<Self, Error> {
        let trainable = &settings.learner.trainable;
        let capacity = match trainable.vision_tower || trainable.merger {
            true => 0,
            false => FEATURES,
        };
        let measurement =
            Measurement::new(settings, &base, recipe, (train, test), capacity, warnings)?;
        let data = DataNames {
            train: train.name().to_owned(),
            test: test.name().to_owned(),
        };
        let config = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "model": base.name,
            "processor": base.encoder.processor().settings(),
            "matchers": {
                "strict": measurement.test.strict.name(),
                "lenient": measurement.test.lenient.name(),
            },
            "data": data,
            "asks": Asks::of(train),
            "fine_tune": settings,
            "recipe": recipe,
        });
        let checkpoints = settings.out.join("checkpoints");
        Ok(Self {
            settings,
            recipe,
            data,
            files: files_to_save(&base.files, &settings.sampling)?,
            base,
            features: Arc::new(FeatureStore::new(capacity)),
            store: CheckpointStore::new(checkpoints, settings.keep_checkpoints),
            measurement,
            config,
            file,
        })
    }

    /// Takes down what decides what is learnt and measured.
    pub(crate) fn take_fingerprint(&mut self, train: &dyn Dataset) -> Result<(), Error> {
        let file = self.file.as_ref().map(|file| of_file(file.value.clone()));
        self.config["fingerprint"] = serde_json::json!({
            "file": file,
            "data": {
                "class_names": train.classes(),
                "train": fingerprint::of_records(train, train.records(Split::Train)?)?,
                "validation": fingerprint::of_examples(self.validation_examples())?,
                "test": fingerprint::of_examples(self.test_examples())?,
            },
            "model": fingerprint::of_model(&self.base)?,
        });
        Ok(())
    }

    pub(crate) fn template(&self) -> &PromptTemplate {
        &self.recipe.template
    }

    /// What evaluations encode their prompts with, and their template.
    pub(crate) fn evaluation_prompts(&self) -> (&PromptEncoder, &PromptTemplate) {
        self.measurement.prompts()
    }

    pub(crate) fn test_examples(&self) -> &[Example] {
        &self.measurement.test.examples
    }

    /// The validation examples, where evaluations on the way ask them.
    pub(crate) fn validation_examples(&self) -> &[Example] {
        let validation = self.measurement.validation.as_ref();
        let asked = validation.filter(|_| self.settings.evaluate_every > 0);
        asked.map_or(&[], |validation| &validation.examples)
    }

    /// The checkpoint that the run goes on from, where it does: one of a run of the same settings,
    /// data and base, with no more steps than the `steps` of this one, over so many `examples`.
    /// `conditional` says whether a condition of one's own may end it.
    pub(crate) fn find(
        &self,
        (steps, examples): (usize, usize),
        conditional: bool,
        warnings: &Warnings,
    ) -> Result<Option<Resumed>, Error> {
        let out = self.settings.out.as_path();
        let Some(mut checkpoint) = resume::find(&self.store, self.settings.resume)? else {
            if self.settings.resume && out.join("metrics.jsonl").exists() {
                let out = out.display();
                tracing::warn!("{out}: has no checkpoint to resume from: the run begins anew");
            }
            return Ok(None);
        };
        let on_test = self.measurement.validation.is_none();
        let length = self.settings.loop_config(steps);
        length.reopen(&mut checkpoint.state, conditional);
        let old = checkpoint.state.note["config"]["fine_tune"].clone();
        let place = (out, on_test, steps);
        let mut found = Resumed::new(checkpoint, &self.config, place)?;
        if let Ok(old) = serde_json::from_value::<FineTune>(old) {
            let before = old.schedule(old.total_steps(examples));
            let schedules = [before, self.settings.schedule(steps)];
            found.follow(&self.config, schedules, warnings);
        }
        Ok(Some(found))
    }

    /// A rollout engine of the base: one here, which shares the kept features, or a server's.
    ///
    /// # Errors
    /// A setting of the server that cannot be used.
    pub(crate) fn engine(&self) -> Result<RunEngine<M>, Error> {
        let (encoder, model) = (&self.base.encoder, &self.base.model);
        #[cfg(feature = "remote")]
        if let Some(remote) = self.settings.remote_config() {
            let files = self.files.clone();
            let engine = visrl_rollout::RemoteEngine::new(encoder, model.info(), files, remote)?;
            return Ok(RunEngine::Remote(Box::new(engine)));
        }
        Ok(RunEngine::Local(Box::new(LocalEngine::new(
            model,
            Arc::clone(encoder.tokenizer()),
            Arc::clone(&self.features),
            self.settings.engine_config(),
        ))))
    }

    /// The model to train: the base, with the adapter that it carries or with new ones where they are
    /// asked for.
    pub(crate) fn policy(&self) -> Result<M, Error> {
        let model = self.base.model.clone();
        let Some(lora) = &self.settings.lora else {
            return Ok(model);
        };
        let rng = SeedStream::new(self.settings.seed, Domain::Init).rng();
        attach_lora(model, lora, rng).map_err(of_lora)
    }

    /// What the run will need, judged by the first examples.
    pub(crate) fn plan(
        &self,
        learner: &Learner<M>,
        examples: &[Example],
    ) -> Result<MemoryPlan, Error> {
        let template = &self.recipe.template;
        let prompts: Vec<_> = examples
            .iter()
            .map(|e| Arc::new(template.render(e)))
            .collect();
        let inputs = self.base.encoder.encode_all(&self.base.model, &prompts)?;
        let prompt_tokens = inputs.iter().map(|i| i.ids.len()).max().unwrap_or(0);
        let load = Workload {
            prompts: self.settings.prompts_per_step,
            num_generations: match self.recipe.objective.is_supervised() {
                true => 1,
                false => self.settings.num_generations,
            },
            prompt_tokens,
            completion_tokens: match self.recipe.objective {
                Objective::SuperviseConversation => prompt_tokens,
                _ => self.settings.sampling.max_new_tokens,
            },
        };
        Ok(MemoryPlan::new(learner, &load))
    }

    /// Begins in the run's folder: after a checkpoint, or at step 0 with a measurement of the base
    /// and nothing of an earlier run.
    pub(crate) fn begin(
        self,
        folder: RunFolder,
        found: Option<Resumed>,
    ) -> Result<(BegunRun<'a, M>, Start), Error> {
        let (out, count) = (&self.settings.out, self.settings.samples);
        match &found {
            Some(found) => {
                self.store.sweep()?;
                let every = self.settings.evaluate_every;
                let last = found.checkpoint.state.evaluations.last();
                if last.is_none_or(|point| point.step.is_multiple_of(every)) {
                    folder.take_back("best")?;
                }
            }
            None => {
                self.store.clear()?;
                folder.clear()?;
            }
        }
        if let Some(file) = &self.file {
            write_file(&out.join("run.toml"), file.text.as_bytes())?;
        }
        write_json(&out.join("config.json"), &self.config)?;
        write_images(out, &self.measurement.test.examples, count)?;
        let (start, before, samples) = match found {
            Some(found) => {
                let step = found.checkpoint.state.step;
                let samples = SampleLog::resume(out, count, step, found.sampled)?;
                let start = Start::From(Box::new(found.checkpoint));
                (start, found.before, samples)
            }
            None => {
                let mut samples = SampleLog::create(out, count)?;
                let before = self.measurement.measure(&self.base.model.clone())?;
                samples.write(0, &before.greedy.answers)?;
                let start = Start::New(resume::note(&self.config, &before));
                (start, before, samples)
            }
        };
        let begun = BegunRun {
            run: self,
            folder,
            before,
            samples,
        };
        Ok((begun, start))
    }
}

impl<M: VisionLanguageModel> BegunRun<'_, M> {
    /// Saves a model below the run's folder.
    fn save(&self, model: &M, name: &str) -> Result<(), visrl_train::Error> {
        let files = &self.run.files;
        self.folder
            .replace(name, |dir| files.save(model, dir, SaveDtype::F32))
            .map_err(Into::into)
    }

    /// Measures and saves the fine-tuned model.
    pub(crate) fn finish(
        mut self,
        model: M,
        trained: Trained,
    ) -> Result<(Summary, Pretrained<M>), Error> {
        let Run {
            settings,
            recipe,
            measurement,
            ..
        } = &self.run;
        let out = &settings.out;
        let Trained { state, .. } = trained;
        let carried = self.run.base.adapter.as_ref();
        let lora = settings.lora.as_ref().or(carried.map(|a| &a.config));
        if let Some(lora) = lora {
            let name = base_name(&self.run.base.name);
            let save = |dir: &Path| save_lora(&model, lora, name, dir);
            self.folder.replace("adapter", save)?;
        }
        let after = measurement.measure(&model)?;
        let model = merge_lora(model);
        self.save(&model, "model")?;
        let classes = &self.run.config["fingerprint"]["data"]["class_names"];
        let classes: Vec<String> = serde_json::from_value(classes.clone()).unwrap_or_default();
        let on_test = measurement.validation.is_none() || settings.evaluate_every == 0;
        if !(on_test && state.evaluations.iter().any(|p| p.step == state.step)) {
            self.samples.write(state.step, &after.greedy.answers)?;
        }
        let summary = Summary {
            recipe: recipe.name.clone(),
            matcher: measurement.test.strict.name().to_owned(),
            rules: recipe.rewards.names().map(str::to_owned).collect(),
            loss: settings.loss.clone(),
            data: self.run.data.clone(),
            seed: settings.seed,
            steps: state.step,
            ended: trained.cause,
            best: state.best().cloned(),
            evaluations: state.evaluations.clone(),
            validated_on: match measurement.validation {
                Some(_) => "val".to_owned(),
                None => "test".to_owned(),
            },
            warnings: trained.warnings.list(),
            seconds: state.seconds,
            evaluation: settings.evaluation.clone(),
            test_examples: measurement.test.examples.len(),
            before: self.before.accuracy(),
            after: after.accuracy(),
            evaluation_seconds: after.greedy.seconds,
            memory: Memory {
                plan: trained.plan,
                held: trained.held,
                peak: peak_memory(),
            },
        };
        let found = BeforeAfter {
            before: self.before,
            after,
            asked: Some(measurement.asked()),
        };
        write_json(&out.join("evaluation.json"), &found)?;
        let card = ModelCard {
            base: &self.run.base.name,
            recipe,
            settings,
            lora,
            summary: &summary,
            classes: &classes,
        };
        card.write(out)?;
        summary.write(out.join("summary.json"))?;
        let base = Pretrained {
            model,
            adapter: None,
            files: self.run.files,
            ..self.run.base
        };
        Ok((summary, base))
    }
}

impl<M: VisionLanguageModel> Validation<M> for BegunRun<'_, M> {
    fn validate(&mut self, step: usize, policy: &M) -> Result<EvaluationPoint, visrl_train::Error> {
        let measurement = &self.run.measurement;
        let evaluation = measurement.validate(&policy.valid())?;
        if measurement.validation.is_none() {
            self.samples.write(step, &evaluation.answers)?;
        }
        Ok(EvaluationPoint {
            step,
            accuracy: evaluation.accuracy,
            completion_length: evaluation.completion_length,
        })
    }

    fn keep_best(&mut self, policy: &M, point: &EvaluationPoint) -> Result<(), visrl_train::Error> {
        // An end that a longer run passes is no evaluation of it.
        let due = point.step.is_multiple_of(self.run.settings.evaluate_every);
        if !due && self.run.settings.out.join("checkpoints").is_dir() {
            self.folder.set_aside("best")?;
        }
        let model = merge_lora(policy.valid());
        self.save(&model, "best")
    }

    fn sync(&mut self) -> Result<(), visrl_train::Error> {
        self.samples.sync()
    }
}
