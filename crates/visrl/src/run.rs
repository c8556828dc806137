//! What stays the same through a run: base, measurements, samples, checkpoints.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use visrl_core::{Domain, Example, SeedStream};
use visrl_data::Dataset;
use visrl_rollout::{EngineConfig, NativeEngine, PolicySync, SamplingParams};
use visrl_train::{
    Answer, CheckpointStore, Evaluation, EvaluationPoint, Evaluator, Learner, LineFile, MemoryPlan,
    Observer, Start, Workload, peak_memory,
};
use visrl_vlm::{
    FeatureStore, Pretrained, SaveDtype, VisionLanguageModel, attach_lora, merge_lora, save_lora,
};

use crate::fine_tune::{Error, Outcome};
use crate::samples::write_images;
use crate::settings_diff::settings_diff;
use crate::summary::write_json;
use crate::{FineTune, Measured, Memory, Recipe, Sample, Summary};

/// Image features kept, at the most.
const FEATURES: usize = 4096;

/// Where examples come from.
#[derive(Clone, Copy)]
pub(crate) struct RunData<'a> {
    pub(crate) train: &'a dyn Dataset,
    pub(crate) test: &'a dyn Dataset,
}

/// What a run measured of its two ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeforeAfter {
    /// The base.
    pub before: Measured,
    /// The fine-tuned model.
    pub after: Measured,
}

pub(crate) struct Run<'a, M> {
    settings: &'a FineTune,
    recipe: &'a Recipe,
    pub(crate) base: Pretrained<M>,
    /// Features of the training images; those of evaluations have a store of their own, so that
    /// none depends on which evaluations there were.
    pub(crate) features: Arc<FeatureStore>,
    test_features: Arc<FeatureStore>,
    pub(crate) store: CheckpointStore,
    evaluator: Evaluator,
    validator: Option<Evaluator>,
    samples: Option<LineFile>,
    config: Value,
    before: Option<Measured>,
}

impl<'a, M: VisionLanguageModel> Run<'a, M> {
    pub(crate) fn start(
        settings: &'a FineTune,
        base: Pretrained<M>,
        recipe: &'a Recipe,
        data: RunData<'_>,
    ) -> Result<Self, Error> {
        // An output folder that cannot be written must show now, not after the training.
        let evaluator = settings.evaluator(recipe, data.test)?;
        let validator = settings.validator(recipe, data.train)?;
        let config = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "model": base.name,
            "processor": base.encoder.processor().settings(),
            "matchers": {
                "strict": evaluator.strict.name(),
                "lenient": evaluator.lenient.name(),
            },
            "fine_tune": settings,
            "recipe": recipe,
        });
        write_json(&settings.out.join("config.json"), &config)?;
        let trainable = &settings.learner.trainable;
        let capacity = match trainable.vision_tower || trainable.merger {
            true => 0,
            false => FEATURES,
        };
        let checkpoints = settings.out.join("checkpoints");
        let asked = |evaluator: &Evaluator| evaluator.examples.len();
        let tests = asked(&evaluator) + validator.as_ref().map_or(0, asked);
        Ok(Self {
            settings,
            recipe,
            base,
            features: Arc::new(FeatureStore::new(capacity)),
            // All or none, for the same reason.
            test_features: Arc::new(FeatureStore::new(match tests <= capacity {
                true => capacity,
                false => 0,
            })),
            store: CheckpointStore::new(checkpoints, settings.keep_checkpoints),
            evaluator,
            validator,
            samples: None,
            config,
            before: None,
        })
    }

    /// Where to begin: after the newest checkpoint, or at step 0 with a measurement of the base.
    pub(crate) fn begin(&mut self) -> Result<Start, Error> {
        let out = &self.settings.out;
        write_images(out, &self.evaluator.examples, self.settings.samples)?;
        let samples = out.join("samples.jsonl");
        let found = match self.settings.resume {
            true => self.store.latest()?,
            false => None,
        };
        let Some(checkpoint) = found else {
            self.store.clear()?;
            self.samples = Some(LineFile::create(&samples)?);
            let before = self.measure(&self.base.model.clone())?;
            self.write_samples(0, &before.greedy)?;
            let note = serde_json::json!({ "config": self.config, "before": before });
            self.before = Some(before);
            return Ok(Start::New(note));
        };
        self.store.sweep()?;
        let note = &checkpoint.state.note;
        if let Some(field) = settings_diff(&note["config"], &self.config) {
            let message = format!("was made with another `{field}`: resume with its settings");
            return Err(Error::file(checkpoint.dir, message));
        }
        let before = Measured::deserialize(&note["before"])
            .map_err(|error| Error::file(&checkpoint.dir, format!("note: {error}")))?;
        self.before = Some(before);
        let step = checkpoint.state.step;
        // Samples of the step itself were there if an evaluation wrote them; those of the end of the
        // run come again.
        let points = &checkpoint.state.evaluations;
        let evaluated = self.validator.is_none() && points.iter().any(|p| p.step == step);
        let lines = LineFile::resume(&samples, |sample: Sample| {
            sample.step < step || (evaluated && sample.step == step)
        })?;
        self.samples = Some(lines);
        Ok(Start::From(Box::new(checkpoint)))
    }

    /// A rollout engine of the base, which shares the kept features.
    pub(crate) fn engine(&self) -> NativeEngine<M> {
        self.engine_with(&self.features)
    }

    fn engine_with(&self, features: &Arc<FeatureStore>) -> NativeEngine<M> {
        NativeEngine::new(
            &self.base.model,
            Arc::clone(self.base.encoder.tokenizer()),
            Arc::clone(features),
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

    fn evaluate(
        &self,
        evaluator: &Evaluator,
        model: &M,
        sampling: &SamplingParams,
    ) -> Result<Evaluation, Error> {
        let mut engine = self.engine_with(&self.test_features);
        engine.set_policy(model)?;
        evaluator.run(&mut engine, &self.base.encoder, model, sampling)
    }

    fn measure(&self, model: &M) -> Result<Measured, Error> {
        let most = self.settings.sampling.max_new_tokens;
        let t1 = SamplingParams {
            top_k: 0,
            max_new_tokens: most,
            ..SamplingParams::default()
        };
        Ok(Measured {
            greedy: self.evaluate(&self.evaluator, model, &SamplingParams::greedy(most))?,
            t1: self.evaluate(&self.evaluator, model, &t1)?,
        })
    }

    fn write_samples(&mut self, step: usize, evaluation: &Evaluation) -> Result<(), Error> {
        let answers: &[Answer] = &evaluation.answers;
        let Some(lines) = &mut self.samples else {
            return Ok(());
        };
        for sample in Sample::of(step, answers, self.settings.samples) {
            lines.write(&sample)?;
        }
        Ok(())
    }

    fn save(&self, model: &M, dir: &Path) -> Result<(), Error> {
        Ok(self.base.files.save(model, dir, SaveDtype::F32)?)
    }

    /// Measures and saves the fine-tuned model.
    pub(crate) fn finish(
        mut self,
        model: M,
        outcome: Outcome,
    ) -> Result<(Summary, Pretrained<M>), Error> {
        let out = self.settings.out.clone();
        if let Some(lora) = &self.settings.lora {
            save_lora(&model, lora, &self.base.name, out.join("adapter"))?;
        }
        let after = self.measure(&model)?;
        let model = merge_lora(model);
        self.save(&model, &out.join("model"))?;
        let Outcome {
            state,
            ended,
            plan,
            held,
        } = outcome;
        let Some(before) = self.before.take() else {
            return Err(Error::file(out, "the run was never begun"));
        };
        let on_test = self.validator.is_none() || self.settings.evaluate_every == 0;
        if !(on_test && state.evaluations.iter().any(|p| p.step == state.step)) {
            self.write_samples(state.step, &after.greedy)?;
        }
        let summary = Summary {
            recipe: self.recipe.name.clone(),
            matcher: self.evaluator.strict.name().to_owned(),
            seed: self.settings.seed,
            steps: state.step,
            ended,
            best: state.best().cloned(),
            evaluations: state.evaluations.clone(),
            validated_on: match self.validator {
                Some(_) => "val".to_owned(),
                None => "test".to_owned(),
            },
            seconds: state.seconds,
            test_examples: self.evaluator.examples.len(),
            before: before.accuracy(),
            after: after.accuracy(),
            evaluation_seconds: after.greedy.seconds,
            memory: Memory {
                plan,
                held,
                peak: peak_memory(),
            },
        };
        write_json(&out.join("evaluation.json"), &BeforeAfter { before, after })?;
        summary.write(out.join("summary.json"))?;
        self.base.model = model;
        Ok((summary, self.base))
    }
}

impl<M: VisionLanguageModel> Observer<M> for Run<'_, M> {
    fn evaluate(&mut self, step: usize, policy: &M) -> Result<EvaluationPoint, Error> {
        let greedy = SamplingParams::greedy(self.settings.sampling.max_new_tokens);
        let policy = policy.valid();
        let evaluator = self.validator.as_ref().unwrap_or(&self.evaluator);
        let evaluation = Run::evaluate(self, evaluator, &policy, &greedy)?;
        if self.validator.is_none() {
            self.write_samples(step, &evaluation)?;
        }
        Ok(EvaluationPoint {
            step,
            accuracy: evaluation.accuracy,
            completion_length: evaluation.completion_length,
        })
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.samples.as_mut().map_or(Ok(()), LineFile::sync)
    }

    fn best(&mut self, policy: &M, _: &EvaluationPoint) -> Result<(), Error> {
        let model = merge_lora(policy.valid());
        self.save(&model, &self.settings.out.join("best"))
    }
}
