//! The paper's runs, one of each kind, by the repository's files: three steps and the evaluation, on
//! drawn data in the layouts of the published sets, with the embedded model.

#[allow(dead_code)]
mod layouts;

use std::fs;
use std::path::{Path, PathBuf};

use visrl::data::{Classes, CvBenchConfig};
use visrl::experiment::{base_to_new, cv_bench};
use visrl::image::ImagePipeline;
use visrl::rollout::SamplingParams;
use visrl::train::Interrupt;
use visrl::{
    BeforeAfter, DataSource, EvaluationPrompts, EvaluationSetting, FineTune, Registry, RunConfig,
    Summary,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file of the repository, shortened, on data of the test's.
fn file(name: &str, dir: &Path, train: DataSource, test: DataSource) -> RunConfig {
    let path = root().join(format!("configs/qwen2-vl-2b-{name}.toml"));
    let mut run = RunConfig::from_file(path).unwrap();
    run.device = "flex".into();
    run.model.path = root().join("assets/base");
    run.model.load.dtype = visrl::vlm::ParamDtype::F32;
    run.data.source = train;
    run.test.as_mut().unwrap().source = test;
    run.fine_tune = FineTune {
        steps: 3,
        epochs: 0,
        prompts_per_step: 2,
        num_generations: 2,
        out: dir.join("run"),
        ..run.fine_tune
    };
    run.fine_tune.sampling.max_new_tokens = 8;
    run
}

/// What the run says of how it was evaluated, in each place.
fn asked(run: &RunConfig, summary: &Summary, prompts: &EvaluationPrompts) -> (String, String) {
    assert_eq!(summary.steps, 3);
    assert_eq!(summary.evaluation.prompts, *prompts);
    let text = fs::read_to_string(run.fine_tune.out.join("evaluation.json")).unwrap();
    let found: BeforeAfter = serde_json::from_str(&text).unwrap();
    let asked = found.asked.unwrap();
    assert_eq!(asked.setting, summary.evaluation);
    let page = visrl::report::render(&run.fine_tune.out).unwrap();
    assert!(
        page.contains(&summary.evaluation.to_string()),
        "in the report"
    );
    let template = serde_json::to_value(&asked.template).unwrap();
    let part = |name: &str| template[name].as_str().unwrap().to_owned();
    let pipeline = asked.processor["pipeline"]["type"].as_str();
    (part("open"), pipeline.unwrap().to_owned())
}

#[test]
fn few_shot() {
    let dir = tempfile::tempdir().unwrap();
    let pets = layouts::pets(dir.path(), &["beagle", "birman"]);
    for name in ["cls_rl", "sft_reference"] {
        let run = file(name, dir.path(), pets.clone(), pets.clone());
        let summary = run.run().unwrap();
        // One test row and one validation row of each class.
        assert_eq!(summary.test_examples, 4);
        let prompts = match name {
            "cls_rl" => EvaluationPrompts::FewShot,
            _ => EvaluationPrompts::Training,
        };
        let (open, pipeline) = asked(&run, &summary, &prompts);
        assert_eq!(pipeline, "paper_evaluation");
        match name {
            "cls_rl" => assert!(open.starts_with("{question} First output"), "{open}"),
            _ => assert_eq!(open, "{question}"),
        }
    }
}

#[test]
fn base_and_new_classes() {
    let dir = tempfile::tempdir().unwrap();
    let classes = ["beagle", "birman", "pug", "sphynx"];
    let pets = layouts::pets(dir.path(), &classes);
    let run = file("base_to_new", dir.path(), pets.clone(), pets.clone());
    let summary = run.run().unwrap();
    assert_eq!(summary.test_examples, 4);
    let (open, _) = asked(&run, &summary, &EvaluationPrompts::BaseClasses);
    assert_eq!(open, "{question} Please directly output the answer name.");
    let data = pets.open(&Registry::new()).unwrap();
    let base = run.load_model().unwrap();
    let found = base_to_new(base, &run.recipe, &run.fine_tune, &data, 4).unwrap();
    assert_eq!(
        found.summary.evaluation.prompts,
        EvaluationPrompts::BaseClasses
    );
    assert_eq!(found.summary.test_examples, 4);
    assert_eq!(
        found.summary.before.greedy_lenient,
        found.zero_shot_lenient.base
    );
}

/// Base-to-new of a file leaves it, goes on with it, and is refused with another.
#[test]
fn base_to_new_is_a_run_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let classes = ["beagle", "birman", "pug", "sphynx"];
    let pets = layouts::pets(dir.path(), &classes);
    let mut run = file("base_to_new", dir.path(), pets.clone(), pets);
    run.fine_tune.checkpoint_every = 1;
    let halves = |run: &RunConfig| run.base_to_new(&Registry::new(), Interrupt::new());
    let found = halves(&run).unwrap();
    assert_eq!(found.summary.test_examples, 4);
    let weights = |run: &RunConfig| fs::read(run.fine_tune.out.join("model/model.safetensors"));
    let tuned = weights(&run).unwrap();
    let written = RunConfig::from_file(run.fine_tune.out.join("run.toml")).unwrap();
    assert_eq!((&written.data, &written.test), (&run.data, &run.test));

    // The file is the run's: it is made again from it, and its training alone by `run`.
    let mut again = written.clone();
    again.fine_tune.out = dir.path().join("again");
    assert_eq!(halves(&again).unwrap().tuned, found.tuned);
    assert!(weights(&again).unwrap() == tuned);
    again.fine_tune.out = dir.path().join("alone");
    again.run().unwrap();
    assert!(weights(&again).unwrap() == tuned);

    let mut resumed = written;
    resumed.fine_tune.resume = true;
    assert_eq!(halves(&resumed).unwrap().tuned, found.tuned);
    resumed.data.shot_seed = Some(2);
    let error = halves(&resumed).unwrap_err().to_string();
    assert!(error.contains("`data.shot_seed` (1, now 2)"), "{error}");
    run.data.classes = Classes::New;
    let error = halves(&run).unwrap_err().to_string();
    assert!(
        error.contains(".toml: `data.classes` are the new ones"),
        "{error}"
    );
}

#[test]
fn open_set() {
    let dir = tempfile::tempdir().unwrap();
    let pets = layouts::pets(dir.path(), &["beagle", "birman"]);
    let run = file("open_set", dir.path(), pets.clone(), pets);
    let (train, _) = run.load_data(&Registry::new()).unwrap();
    let summary = run.run().unwrap();
    let (open, pipeline) = asked(&run, &summary, &EvaluationPrompts::OpenSet);
    assert_eq!(open, "{question} Please directly output the answer name.");
    assert_eq!(pipeline, "paper_evaluation");
    let evaluator = run.fine_tune.evaluator(&run.recipe, &train).unwrap();
    assert_eq!(
        evaluator.examples[0].question,
        "What type of animal is in the photo?"
    );
    assert!(summary.after.greedy_guided.is_none());
}

#[test]
fn sat_then_cv_bench() {
    for name in ["sat-cls_rl", "sat-no_thinking_rl"] {
        let dir = tempfile::tempdir().unwrap();
        let (sat, bench) = (layouts::sat(dir.path()), layouts::cv_bench(dir.path()));
        let run = file(name, dir.path(), sat, bench.clone());
        let summary = run.run().unwrap();
        assert_eq!(summary.test_examples, 4);
        if name == "sat-cls_rl" {
            assert_eq!(summary.rules, ["sat_accuracy", "think_answer_format"]);
        }
        let (_, pipeline) = asked(&run, &summary, &EvaluationPrompts::CvBench);
        assert_eq!(pipeline, "plain");
        let DataSource::CvBench { path, options } = bench else {
            unreachable!()
        };
        by_task(&run, &path, &options);
    }
}

/// The evaluation of what a run left, by task, with and without an instruction.
fn by_task(run: &RunConfig, path: &Path, options: &CvBenchConfig) {
    let mut run = run.clone();
    run.model.path = run.fine_tune.out.join("model");
    run.model.load.pipeline = Some(ImagePipeline::default());
    let tuned = run.load_model().unwrap();
    let bench = options.open(path).unwrap();
    for name in [
        "training",
        "paper_cv_bench",
        "paper_cv_bench_no_instruction",
    ] {
        run.fine_tune.evaluation = EvaluationSetting::named(name).unwrap();
        let recipe = run.recipe.clone().for_cv_bench();
        let greedy = SamplingParams::greedy(4);
        let found = cv_bench(&tuned, &recipe, &run.fine_tune, &bench, &greedy).unwrap();
        assert_eq!(
            (found.strict.tasks.len(), found.evaluation.examples),
            (4, 4)
        );
        assert_eq!(found.strict.all, Some(found.evaluation.accuracy));
        assert_eq!(found.evaluation.lenient_matcher, "cv_bench");
    }
}
