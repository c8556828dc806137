//! What stays the same through a run, however it trains: base, measurements, samples, checkpoints.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use visrl_core::{Domain, Example, SeedStream};
use visrl_data::Dataset;
use visrl_rollout::{EngineConfig, NativeEngine};
use visrl_train::{
    CheckpointStore, EvaluationPoint, Learner, MemoryPlan, Start, StopCause, TrainState,
    Validation, Workload, peak_memory,
};
use visrl_vlm::{
    FeatureStore, Pretrained, SaveDtype, VisionLanguageModel, attach_lora, merge_lora, save_lora,
};

use crate::before_after::{BeforeAfter, Measured, Measurement};
use crate::error::Error;
use crate::fine_tune::FineTune;
use crate::recipe::Recipe;
use crate::resume;
use crate::samples::{SampleLog, write_images};
use crate::summary::{DataNames, Memory, Summary, write_json};

/// Image features kept, at the most.
const FEATURES: usize = 4096;

/// A run before its first step.
pub(crate) struct Run<'a, M> {
    settings: &'a FineTune,
    recipe: &'a Recipe,
    data: DataNames,
    pub(crate) base: Pretrained<M>,
    /// Features of the training images.
    pub(crate) features: Arc<FeatureStore>,
    pub(crate) store: CheckpointStore,
    measurement: Measurement<M>,
    config: Value,
}

/// A run that was begun: the base is measured.
pub(crate) struct BegunRun<'a, M> {
    pub(crate) run: Run<'a, M>,
    before: Measured,
    samples: SampleLog,
}

/// How training ended.
pub(crate) struct Trained {
    pub(crate) state: TrainState,
    pub(crate) cause: StopCause,
    pub(crate) plan: MemoryPlan,
    /// What the process held in bytes before the first step.
    pub(crate) held: Option<u64>,
}

impl<'a, M: VisionLanguageModel> Run<'a, M> {
    pub(crate) fn new(
        settings: &'a FineTune,
        base: Pretrained<M>,
        recipe: &'a Recipe,
        (train, test): (&dyn Dataset, &dyn Dataset),
    ) -> Result<Self, Error> {
        let trainable = &settings.learner.trainable;
        let capacity = match trainable.vision_tower || trainable.merger {
            true => 0,
            false => FEATURES,
        };
        let measurement = Measurement::new(settings, &base, recipe, (train, test), capacity)?;
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
            "fine_tune": settings,
            "recipe": recipe,
        });
        // An output folder that cannot be written must show now, not after the training.
        write_json(&settings.out.join("config.json"), &config)?;
        let checkpoints = settings.out.join("checkpoints");
        Ok(Self {
            settings,
            recipe,
            data,
            base,
            features: Arc::new(FeatureStore::new(capacity)),
            store: CheckpointStore::new(checkpoints, settings.keep_checkpoints),
            measurement,
            config,
        })
    }

    /// A rollout engine of the base, which shares the kept features.
    pub(crate) fn engine(&self) -> NativeEngine<M> {
        NativeEngine::new(
            &self.base.model,
            Arc::clone(self.base.encoder.tokenizer()),
            Arc::clone(&self.features),
            EngineConfig::default(),
        )
    }

    /// The model to train: the base, with new adapters where they are asked for.
    pub(crate) fn policy(&self) -> Result<M, Error> {
        let model = self.base.model.clone();
        let Some(lora) = &self.settings.lora else {
            return Ok(model);
        };
        let rng = SeedStream::new(self.settings.seed, Domain::Init).rng();
        Ok(attach_lora(model, lora, rng)?)
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
        let load = Workload {
            prompts: self.settings.prompts_per_step,
            num_generations: match self.recipe.objective.is_supervised() {
                true => 1,
                false => self.settings.num_generations,
            },
            prompt_tokens: inputs.iter().map(|i| i.ids.len()).max().unwrap_or(0),
            completion_tokens: self.settings.sampling.max_new_tokens,
        };
        Ok(MemoryPlan::new(learner, &load))
    }

    /// Where to begin: after the newest checkpoint, or at step 0 with a measurement of the base.
    pub(crate) fn begin(self) -> Result<(BegunRun<'a, M>, Start), Error> {
        let (out, count) = (&self.settings.out, self.settings.samples);
        write_images(out, &self.measurement.test.examples, count)?;
        if let Some(checkpoint) = resume::find(&self.store, self.settings.resume)? {
            let on_test = self.measurement.validation.is_none();
            let found = resume::go_on(checkpoint, &self.config, (out, count, on_test))?;
            let begun = BegunRun {
                run: self,
                before: found.before,
                samples: found.samples,
            };
            return Ok((begun, found.start));
        }
        let mut samples = SampleLog::create(out, count)?;
        let before = self.measurement.measure(&self.base.model.clone())?;
        samples.write(0, &before.greedy.answers)?;
        let start = Start::New(resume::note(&self.config, &before));
        let begun = BegunRun {
            run: self,
            before,
            samples,
        };
        Ok((begun, start))
    }

    fn save(&self, model: &M, dir: &Path) -> Result<(), visrl_train::Error> {
        Ok(self.base.files.save(model, dir, SaveDtype::F32)?)
    }
}

impl<M: VisionLanguageModel> BegunRun<'_, M> {
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
        if let Some(lora) = &settings.lora {
            save_lora(&model, lora, &self.run.base.name, out.join("adapter"))?;
        }
        let after = measurement.measure(&model)?;
        let model = merge_lora(model);
        self.run.save(&model, &out.join("model"))?;
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
            seconds: state.seconds,
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
        let before = self.before;
        write_json(&out.join("evaluation.json"), &BeforeAfter { before, after })?;
        summary.write(out.join("summary.json"))?;
        let base = Pretrained {
            model,
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

    fn keep_best(&mut self, policy: &M, _: &EvaluationPoint) -> Result<(), visrl_train::Error> {
        let model = merge_lora(policy.valid());
        self.run.save(&model, &self.run.settings.out.join("best"))
    }

    fn sync(&mut self) -> Result<(), visrl_train::Error> {
        self.samples.sync()
    }
}
