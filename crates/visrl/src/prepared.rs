//! A run of which all is found out that can be known before its first step, and nothing is written.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use visrl_core::{Example, ImageSource};
use visrl_data::{Dataset, Split};
use visrl_grpo::PolicyLoss;
use visrl_kernels::device_memory;
use visrl_train::{ExampleDealer, Learner, MemoryPlan, Warnings};
use visrl_vlm::{LoadedAdapter, Pretrained, VisionLanguageModel};

use crate::bounds::{MOST_STEPS, check_numbers};
use crate::device_room::check_room;
use crate::error::Error;
use crate::fine_tune::FineTune;
use crate::idle_adapters;
use crate::label_check::check_labels;
use crate::preflight::Preflight;
use crate::recipe::Recipe;
use crate::run::{Run, RunFile};
use crate::run_folder::RunFolder;
use crate::settings_check::of_learner;

/// Examples that are encoded before the first step, of training and of evaluations: together as many
/// as images are kept, so that the work is done once. The pictures of further ones are read, but not
/// decoded.
const ENCODED: usize = 2048;
/// Examples that are encoded together.
const TOGETHER: usize = 64;

/// A run before its first step.
pub(crate) struct Prepared<'d, M> {
    pub(crate) run: Run<'d, M>,
    pub(crate) learner: Learner<M>,
    pub(crate) dealer: ExampleDealer<'d>,
    /// Steps of the whole run.
    pub(crate) steps: usize,
    pub(crate) plan: MemoryPlan,
}

impl<'d, M: VisionLanguageModel> Prepared<'d, M> {
    /// Finds out whether a run can be made: settings, folder, rewards, data and their pictures,
    /// targets of adapters, and that something is trained.
    pub(crate) fn new(
        (settings, recipe): (&'d FineTune, &'d Recipe),
        base: Pretrained<M>,
        (train, test): (&'d dyn Dataset, &'d dyn Dataset),
        (loss, file): (Box<dyn PolicyLoss<f32>>, Option<RunFile>),
        warnings: &Warnings,
    ) -> Result<Self, Error> {
        settings.validate()?;
        check_numbers("recipe", recipe)?;
        for (place, weighted) in recipe.rewards.rules().iter().enumerate() {
            weighted.rule.as_rule()?;
            weighted
                .rule
                .validate()
                .map_err(|error| of_rule(place, error))?;
        }
        if !recipe.objective.is_supervised() && recipe.rewards.range() == (0.0, 0.0) {
            let message = "can give nothing but 0: give a rule a weight";
            return Err(Error::setting("recipe.rewards", message));
        }
        RunFolder::check(&settings.out, [Path::new(&base.name).join("config.json")])?;
        if settings.resume {
            RunFolder::check_begun(&settings.out)?;
        }
        if let Some(adapter) = &base.adapter {
            check_adapter(adapter, settings)?;
        }
        RunFolder::check(&settings.out, picture_of_each_folder(&[train, test])?)?;
        let dealer = settings.dealer(train)?;
        let steps = settings.total_steps(dealer.len());
        if steps > MOST_STEPS {
            let message = format!("make {steps} steps, expected at most {MOST_STEPS}");
            return Err(Error::setting("fine_tune.epochs", message));
        }
        let examples = dealer.deal(0, dealer.len().min(ENCODED))?;
        check_classes(train, &examples, warnings)?;
        let mut run = Run::new(settings, base, recipe, (train, test), file, warnings)?;
        let learner = Learner::new(
            run.policy()?,
            loss,
            Arc::clone(&run.features),
            settings.learner.clone(),
        );
        learner.check().map_err(of_learner)?;
        if let Some(lora) = &settings.lora {
            idle_adapters::warn_of_idle(lora, &run.base.model, warnings)?;
        }
        run.take_fingerprint(train)?;
        check_prompts(&run, &examples)?;
        let plan = run.plan(&learner, &dealer.deal(0, settings.prompts_per_step)?)?;
        check_room(&plan, device_memory(&run.base.model.head().device()))?;
        let preflight = Preflight {
            settings,
            recipe,
            train: &examples,
            steps,
        };
        preflight.warn(warnings);
        check_labels(&run.base, recipe, settings, &[train, test], warnings)?;
        Ok(Self {
            run,
            learner,
            dealer,
            steps,
            plan,
        })
    }
}

/// The error of a reward rule's setting, by its name in a run file.
fn of_rule(place: usize, error: visrl_reward::Error) -> Error {
    match error {
        visrl_reward::Error::Setting {
            field, value, hint, ..
        } => Error::setting(
            format!("recipe.rewards.{place}.rule.{field}"),
            format!("is {value}; {hint}"),
        ),
        other => other.into(),
    }
}

/// Whether a training can go on with an adapter.
fn check_adapter(adapter: &LoadedAdapter, settings: &FineTune) -> Result<(), Error> {
    RunFolder::check(&settings.out, [adapter.dir.join("adapter_config.json")])?;
    let dir = adapter.dir.display();
    if settings.lora.is_some() {
        let message = format!(
            "is set, but the model carries an adapter already, {dir}, which the run goes on with: leave \
             one of them out, or merge the adapter into the model"
        );
        return Err(Error::setting("fine_tune.lora", message));
    }
    match adapter.config.modules_to_save.first() {
        None => Ok(()),
        Some(name) => Err(Error::setting(
            "model.adapter",
            format!(
                "is {dir}, whose `modules_to_save` has `{name}`: a run trains adapters alone; merge it \
                 into the model"
            ),
        )),
    }
}

/// A picture out of each folder that pictures are read from.
fn picture_of_each_folder(data: &[&dyn Dataset]) -> Result<Vec<PathBuf>, Error> {
    let mut folders = HashSet::new();
    let mut pictures = Vec::new();
    for (data, split) in data
        .iter()
        .flat_map(|data| Split::ALL.map(|split| (data, split)))
    {
        for record in data.records_if_any(split)?.unwrap_or_default() {
            for image in std::iter::once(&record.image).chain(record.further_images()) {
                if let ImageSource::Path(path) = image
                    && folders.insert(path.parent().map(Path::to_owned))
                {
                    pictures.push(path.to_path_buf());
                }
            }
        }
    }
    Ok(pictures)
}

/// A single class is no classification, which is told: there is one right answer. So is a list of
/// one name.
fn check_classes(
    train: &dyn Dataset,
    examples: &[Example],
    warnings: &Warnings,
) -> Result<(), Error> {
    let classes = train.classes();
    if classes.len() > 1 && examples.iter().all(|example| example.choices.len() == 1) {
        let message = "`fine_tune.choices` shows one name only, which is the answer: show two or \
                       more";
        warnings.warn("one choice", message);
    }
    let open = examples.iter().any(|example| example.choices.len() < 2);
    if classes.len() > 1 || !open {
        return Ok(());
    }
    let Some(class) = classes.first() else {
        return Err(Error::setting(
            "data",
            format!("`{}` has no class", train.name()),
        ));
    };
    warnings.warn(
        "one class",
        format!(
            "`data` `{}` has one class, `{class}`: there is nothing to tell apart, give two or more",
            train.name()
        ),
    );
    Ok(())
}

/// Encodes what will be asked: pictures that are damaged and prompts that are too long show here.
fn check_prompts<M: VisionLanguageModel>(run: &Run<'_, M>, train: &[Example]) -> Result<(), Error> {
    let training = (&*run.base.encoder, run.template());
    let evaluation = run.evaluation_prompts();
    // Of the measured ones as many again, whatever their split.
    let mut left = train.len() + ENCODED;
    for ((encoder, template), examples) in [
        (training, train),
        (evaluation, run.validation_examples()),
        (evaluation, run.test_examples()),
    ] {
        let examples = &examples[..examples.len().min(left)];
        left -= examples.len();
        for together in examples.chunks(TOGETHER) {
            let prompts: Vec<_> = together
                .iter()
                .map(|example| Arc::new(template.render(example)))
                .collect();
            if let Err(error) = encoder.encode_all(&run.base.model, &prompts) {
                let each = together.iter().zip(prompts);
                let mut each = each.map(|(example, prompt)| {
                    let alone = encoder.encode_all(&run.base.model, &[prompt]).err()?;
                    Some(of_its_row(example, alone))
                });
                return Err(each.find_map(|found| found).unwrap_or_else(|| error.into()));
            }
        }
    }
    Ok(())
}

/// What is wrong with an example, by the row of the data file it comes from.
fn of_its_row(example: &Example, error: visrl_vlm::Error) -> Error {
    let Some(place) = &example.row.place else {
        return error.into();
    };
    let columns = &place.columns;
    let field = match error {
        visrl_vlm::Error::Image(_) => &columns.images,
        _ => &columns.question,
    };
    Error::Row {
        place: place.to_string(),
        field: field.clone(),
        source: Box::new(error.into()),
    }
}
