//! Parts of one's own: what a run records of them, how it is resumed, and what they are told.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use visrl::prelude::*;
use visrl::reward::{RuleFailure, WeightedRule};
use visrl::train::{LoopConfig, TrainState};

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets")
        .join(name)
}

fn base() -> Pretrained<QwenVl> {
    Pretrained::load(asset("base"), &parse_device("flex").unwrap()).unwrap()
}

fn few() -> MemoryDataset {
    let data = FashionMnist::open(asset("fashion-mnist")).unwrap();
    few_shot(&data, 1, 1).unwrap()
}

fn settings(out: PathBuf) -> FineTune {
    FineTune {
        steps: 3,
        num_generations: 4,
        prompts_per_step: 2,
        test_per_class: 1,
        out,
        ..FineTune::default()
    }
}

fn recipe(rule: impl Into<Rule>) -> Recipe {
    Recipe {
        rewards: RewardSet::no_thinking().with(rule, 0.5).unwrap(),
        ..Recipe::no_thinking_rl()
    }
}

fn brief(name: &str) -> impl RewardRule + use<> {
    rule_fn(name, |completion, _| {
        Some(1.0 / (1.0 + completion.len() as f32))
    })
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Writes down what it is told.
#[derive(Default)]
struct Diary(Vec<String>);

impl Observer for Diary {
    fn started(&mut self, _: &LoopConfig, state: &TrainState) -> Result<(), visrl::train::Error> {
        self.0.push(format!("started at {}", state.step));
        Ok(())
    }

    fn groups_scored(
        &mut self,
        step: usize,
        groups: &[ScoredGroup],
    ) -> Result<(), visrl::train::Error> {
        assert_eq!(groups.len(), 2);
        for group in groups {
            assert_eq!((group.group.len(), group.advantages.len()), (4, 4));
            assert!(group.scores.iter().all(|scored| scored.scores.len() == 2));
        }
        self.0.push(format!("scored {step}"));
        Ok(())
    }

    fn step_done(&mut self, metrics: &StepMetrics) -> Result<(), visrl::train::Error> {
        self.0.push(format!("made {}", metrics.step));
        Ok(())
    }

    fn evaluated(&mut self, point: &EvaluationPoint) -> Result<(), visrl::train::Error> {
        self.0.push(format!("evaluated {}", point.step));
        Ok(())
    }

    fn checkpoint_written(&mut self, step: usize, path: &Path) -> Result<(), visrl::train::Error> {
        assert!(path.ends_with(format!("step-{step}")) && path.is_dir());
        self.0.push(format!("saved {step}"));
        Ok(())
    }

    fn ended(&mut self, cause: &StopCause, _: &TrainState) -> Result<(), visrl::train::Error> {
        self.0.push(format!("ended by {cause:?}"));
        Ok(())
    }
}

/// Counts steps.
struct Counter<'a>(&'a RefCell<usize>);

impl MetricSink for Counter<'_> {
    fn step(&mut self, _: &StepMetrics) -> Result<(), visrl::train::Error> {
        *self.0.borrow_mut() += 1;
        Ok(())
    }
}

#[test]
fn sinks_and_observers_are_told_and_a_condition_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let settings = FineTune {
        evaluate_every: 2,
        checkpoint_every: 2,
        ..settings(dir.path().join("run"))
    };
    let (mut diary, count, data) = (Diary::default(), RefCell::new(0), few());
    let launch = |diary: &mut Diary, settings: FineTune| {
        Trainer::new(base(), &recipe(brief("brief")), &data)
            .settings(settings)
            .sink(Counter(&count))
            .sink(Counter(&count))
            .observer(diary)
            .stop_when(|metrics| metrics.step == 1)
            .launch()
            .unwrap()
    };
    let outcome = launch(&mut diary, settings.clone());
    let told = [
        "started at 0",
        "scored 0",
        "made 0",
        "scored 1",
        "made 1",
        "evaluated 2",
        "saved 2",
        "ended by Condition",
    ];
    assert_eq!(diary.0, told);
    assert_eq!(*count.borrow(), 4);
    let summary = outcome.summary;
    assert_eq!((summary.steps, summary.ended), (2, StopCause::Condition));
    // A run that was at its end comes to the same end.
    let mut again = Diary::default();
    let resumed = FineTune {
        resume: true,
        ..settings
    };
    assert_eq!(
        launch(&mut again, resumed).summary.ended,
        StopCause::Condition
    );
    assert_eq!(again.0, ["started at 2", "ended by Condition"]);
}

#[test]
fn an_interrupted_run_is_an_error_that_says_where_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::new();
    interrupt.trigger();
    let data = few();
    let launched = Trainer::new(base(), &recipe(brief("brief")), &data)
        .settings(settings(dir.path().join("run")))
        .interrupt(interrupt)
        .launch();
    let Err(Error::Interrupted { step, checkpoint }) = launched else {
        panic!("the run went on");
    };
    assert_eq!(
        (step, checkpoint),
        (1, dir.path().join("run/checkpoints/step-1"))
    );
}

#[test]
fn an_own_rule_is_recorded_by_its_name_and_resumed_under_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = few();
    let run = |name: &str, settings: FineTune| {
        Trainer::new(base(), &recipe(brief(name)), &data)
            .settings(settings)
            .launch()
    };
    let first = FineTune {
        checkpoint_every: 1,
        ..settings(dir.path().join("run"))
    };
    run("brief", first.clone()).unwrap();
    let config = json(first.out.join("config.json"));
    let rule = &config["recipe"]["rewards"][1]["rule"];
    assert_eq!(*rule, json!({ "type": "custom", "name": "brief" }));
    let summary = json(first.out.join("summary.json"));
    assert_eq!(summary["rules"], json!(["exact_completion", "brief"]));
    let resumed = FineTune {
        resume: true,
        ..first
    };
    assert_eq!(run("brief", resumed.clone()).unwrap().summary.steps, 3);
    let error = run("short", resumed).unwrap_err().to_string();
    assert!(
        error.contains(r#"`recipe.rewards.1.rule.name` ("brief", now "short")"#),
        "{error}"
    );
}

#[test]
fn a_rule_that_fails_stops_the_run_by_its_name() {
    struct Judge;
    impl RewardRule for Judge {
        fn name(&self) -> &str {
            "judge"
        }
        fn score(&self, _: &str, _: &Example) -> Option<f32> {
            None
        }
        fn score_batch(&self, batch: &[Answered<'_>]) -> Result<Vec<Option<f32>>, RuleFailure> {
            assert_eq!(batch.len(), 2 * 4, "the whole step in one call");
            Err("connection refused".into())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let data = few();
    let error = Trainer::new(base(), &recipe(Judge), &data)
        .settings(settings(dir.path().join("run")))
        .launch()
        .unwrap_err();
    assert_eq!(error.to_string(), "rule `judge`: connection refused");
}

/// A run file that names a rule, a data set and a loss.
fn named_run(out: PathBuf) -> RunConfig {
    let text = r#"
        [model]
        path = ""

        [data]
        source = { kind = "custom", name = "mine" }

        [recipe]
        name = "brief_answers"
        answer_in_tags = false
        rewards = [{ rule = { type = "custom", name = "brief" } }]

        [recipe.template]
        closed = "{question} {choices}"
        open = "{question}"

        [fine_tune]
        loss = "my_loss"
    "#;
    let mut run = RunConfig::from_toml(text).unwrap();
    run.model.path = asset("base");
    run.fine_tune = FineTune {
        loss: run.fine_tune.loss,
        ..settings(out)
    };
    run
}

#[test]
fn a_run_file_names_parts_of_a_registry() {
    let dir = tempfile::tempdir().unwrap();
    let run = named_run(dir.path().join("run"));
    let registry = Registry::new()
        .rule("brief", brief("any name"))
        .rule("other", brief("other"));
    let error = run.run_with(&registry).unwrap_err().to_string();
    let there = "is registered; there are: none";
    assert_eq!(
        error,
        format!("`fine_tune.loss`: no loss of the name `my_loss` {there}")
    );
    let registry = registry.loss("my_loss", GrpoLoss::default());
    let error = run.run_with(&registry).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("`source.name`: no data set of the name `mine` {there}")
    );
    let registry = registry.dataset("mine", few());
    let summary = run.run_with(&registry).unwrap();
    assert_eq!(summary.rules, ["brief"]);
    assert_eq!(
        (&*summary.data.train, &*summary.data.test),
        ("mine", "mine")
    );
    assert_eq!(summary.loss, LossSetting::Custom("my_loss".into()));
    let written = run.fine_tune.out.join("run.toml");
    let again = RunConfig::from_file(&written).unwrap();
    assert_eq!(again.recipe.rewards, run.recipe.rewards);
    let weights = |run: &RunConfig| fs::read(run.fine_tune.out.join("model/model.safetensors"));
    let first = weights(&run).unwrap();
    assert_eq!(again.run_with(&registry).unwrap().after, summary.after);
    assert!(weights(&again).unwrap() == first);

    let mut other = run;
    other.recipe.rewards = serde_json::from_value::<RewardSet>(json!([
        { "rule": { "type": "custom", "name": "short" } }
    ]))
    .unwrap();
    let error = other.run_with(&registry).unwrap_err().to_string();
    assert!(
        error.contains("`short`") && error.contains("`brief`, `other`"),
        "{error}"
    );
    let unnamed = other.recipe.rewards.rules();
    assert!(matches!(
        unnamed,
        [WeightedRule {
            rule: Rule::Custom(_),
            ..
        }]
    ));
}
