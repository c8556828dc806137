//! Reports and the experiments that they are about, at their smallest.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use image::{Rgb, RgbImage};
use visrl::data::{CvBenchConfig, Dataset, FashionMnist, few_shot};
use visrl::experiment::{Comparison, ComparisonRow, cross_dataset, cv_bench, evaluate};
use visrl::rollout::SamplingParams;
use visrl::vlm::{Pretrained, QwenVl};
use visrl::{BeforeAfter, DrawnShapes, FineTune, Recipe, report};

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets")
        .join(name)
}

fn base() -> Pretrained<QwenVl> {
    Pretrained::load(asset("base"), &Device::flex()).unwrap()
}

fn settings(out: PathBuf, tokens: usize) -> FineTune {
    FineTune {
        steps: 2,
        prompts_per_step: 2,
        num_generations: 2,
        test_per_class: 1,
        samples: 3,
        out,
        sampling: SamplingParams {
            max_new_tokens: tokens,
            ..SamplingParams::default()
        },
        ..FineTune::default()
    }
}

/// One file: nothing is fetched and nothing runs.
fn check(html: &str) {
    for outside in ["<script", "src=\"http", "href=\"http", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
    assert!(html.contains("width=device-width"));
}

#[test]
fn a_run_s_report_shows_its_numbers_curves_and_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let data = FashionMnist::open(asset("fashion-mnist")).unwrap();
    let train = few_shot(&data, 1, 1).unwrap();
    let settings = FineTune {
        evaluate_every: 1,
        ..settings(dir.path().join("run"), 40)
    };
    let summary = settings
        .run(base(), &Recipe::cls_rl(), &train, &data)
        .unwrap();
    let text = std::fs::read(settings.out.join("evaluation.json")).unwrap();
    let found: BeforeAfter = serde_json::from_slice(&text).unwrap();
    assert_eq!(found.after.accuracy(), summary.after);
    let greedy = &found.after.greedy;
    let right: usize = greedy.classes.iter().map(|class| class.right).sum();
    assert!((right as f64 / 10.0 - greedy.accuracy).abs() < 1e-9);
    let counted: usize = greedy.confusion.counts.iter().flatten().sum();
    assert_eq!((counted, greedy.classes.len()), (10, 10));
    // A right answer stays right when it must be a choice; sampled ones are not guided.
    assert!(greedy.guided_accuracy.unwrap() >= greedy.accuracy);
    assert_eq!(found.after.t1.guided_accuracy, None);
    let needed = summary.memory.needed();
    assert!(needed.is_none_or(|needed| needed >= summary.memory.plan.parameters));
    let plan = summary.memory.plan;
    assert!(plan.parameters > 2_000_000 && plan.moments == 2 * plan.gradients);

    let html = report::render(&settings.out).unwrap();
    check(&html);
    // Learning, length, entropy, and confusion before and after.
    assert_eq!(html.matches("<svg").count(), 5);
    assert_eq!(html.matches("<img src=\"data:image").count(), 3);
    let readable = html.replace("&#x2f;", "/");
    for text in [
        "cls_rl",
        "strict_tag_accuracy",
        "T-shirt/top",
        "all wrong",
        "What the loss saw",
        "clip/region",
        "step 2:",
    ] {
        assert!(readable.contains(text), "{text}");
    }
    // Told where a thought named a choice.
    let told = html.contains("agree in %");
    assert_eq!(told, found.after.greedy.agreement.is_some());
    let file = dir.path().join("report.html");
    report::write(&settings.out, &file).unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), html);
    let error = report::render(dir.path()).unwrap_err().to_string();
    assert!(error.contains("summary.json"), "{error}");
}

#[test]
fn a_comparison_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let data = FashionMnist::open(asset("fashion-mnist")).unwrap();
    let settings = settings(dir.path().to_owned(), 8);
    let recipe = Recipe::no_thinking_rl();
    let compare = || Comparison::run(&base(), &recipe, &settings, &data, 1).unwrap();
    let first = compare();
    assert_eq!(first, compare());
    let pair = first.base_to_new.tuned;
    assert!((0.0..=1.0).contains(&pair.new) && pair.harmonic() <= pair.base.max(pair.new));
    let rows = ComparisonRow::of(&[first.clone(), first]).unwrap();
    assert_eq!(rows[1].name, "no_thinking_rl");
    assert_eq!((rows[0].seconds.mean, rows[1].greedy.std), (0.0, 0.0));
    let path = dir.path().join("compare.json");
    std::fs::write(path, serde_json::to_vec(&rows).unwrap()).unwrap();
    let html = report::render(dir.path()).unwrap();
    check(&html);
    assert_eq!(html.matches("<svg").count(), 2);
    assert!(html.contains("zero-shot, asked as in no_thinking_rl"));
}

#[test]
fn every_data_set_is_trained_on_and_all_are_tested() {
    let dir = tempfile::tempdir().unwrap();
    let fashion = FashionMnist::open(asset("fashion-mnist")).unwrap();
    let shapes = DrawnShapes::default().draw().unwrap();
    let settings = settings(dir.path().to_owned(), 8);
    let recipe = Recipe::sft();
    let datasets: [&dyn Dataset; 2] = [&fashion, &shapes];
    let matrix = cross_dataset(&base(), &recipe, &settings, &datasets, 1).unwrap();
    assert_eq!(matrix.datasets[1], "drawn_shapes");
    assert_eq!((matrix.accuracy.len(), matrix.accuracy[0].len()), (2, 2));
    assert!(matrix.mean_transfer().is_some());
    assert!(dir.path().join("drawn_shapes/model/config.json").exists());
    let path = dir.path().join("cross_dataset.json");
    std::fs::write(path, serde_json::to_vec(&matrix).unwrap()).unwrap();
    let html = report::render(dir.path()).unwrap();
    check(&html);
    assert!(html.contains("trained on drawn_shapes"));
}

#[test]
fn answers_that_must_be_choices_are_choices() {
    let data = FashionMnist::open(asset("fashion-mnist")).unwrap();
    for recipe in Recipe::all() {
        let length = if recipe.is_wordy() { 12 } else { 8 };
        let settings = settings(PathBuf::new(), length);
        let found = evaluate(&base(), &recipe, &settings, &data).unwrap();
        let name = &recipe.name;
        assert!(found.answers.iter().all(|a| a.guided.is_some()), "{name}");
        let guided = found.guided_accuracy.unwrap();
        assert!(guided >= found.accuracy, "{name}");
        // Thoughts are cut here, so that only guidance gives their answers.
        if recipe.name == "cls_rl" {
            assert!(found.accuracy == 0.0 && guided > 0.2, "{guided}");
        }
    }
}

#[test]
fn cv_bench_is_counted_by_task() {
    let dir = tempfile::tempdir().unwrap();
    let image = RgbImage::from_fn(40, 30, |x, y| Rgb([x as u8, y as u8, 90]));
    image.save(dir.path().join("a.png")).unwrap();
    let tasks = [
        ("Count", "2D", "ADE20K"),
        ("Relation", "2D", "COCO"),
        ("Depth", "3D", "Omni3D"),
        ("Distance", "3D", "Omni3D"),
    ];
    let rows = tasks.map(|(task, kind, source)| {
        let row = serde_json::json!({
            "idx": 0, "type": kind, "task": task, "filename": "a.png", "source": source,
            "question": "How many?", "choices": ["3", "2", "1"], "answer": "(B)",
        });
        format!("{row}\n")
    });
    std::fs::write(dir.path().join("test.jsonl"), rows.concat()).unwrap();
    let bench = CvBenchConfig::default().open(dir.path()).unwrap();
    let settings = settings(PathBuf::new(), 8);
    let recipe = Recipe::no_thinking_rl().for_cv_bench();
    let greedy = SamplingParams::greedy(8);
    let found = cv_bench(&base(), &recipe, &settings, &bench, &greedy).unwrap();
    assert_eq!(
        (found.strict.tasks.len(), found.evaluation.examples),
        (4, 4)
    );
    assert_eq!(found.evaluation.lenient_matcher, "cv_bench");
    assert!(found.strict.overall.is_some() && found.lenient.space.is_some());
    // The letters are what the answers are chosen from.
    assert!(found.evaluation.guided_accuracy.is_some());
}
