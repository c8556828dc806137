//! After a training: answers of what a run left, for one picture and for many.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use serde_json::Value;
use visrl::classifier::{Classifier, PictureAnswer, Question, RunWeights};
use visrl::core::ImageSource;
use visrl::data::{Dataset, FashionMnist, Record, Split, few_shot};
use visrl::experiment::evaluate;
use visrl::train::Answer;
use visrl::vlm::{LoraConfig, Pretrained, QwenVl};
use visrl::{FineTune, Recipe};

/// The first pictures of the test split, for what needs few.
const PICTURES: usize = 60;

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets")
        .join(name)
}

/// A run of three steps with adapters, and the first pictures of the test split as files.
struct Fixture {
    dir: tempfile::TempDir,
    settings: FineTune,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let data = FashionMnist::open(asset("fashion-mnist")).unwrap();
    let settings = FineTune {
        steps: 3,
        learning_rate: 1e-2,
        evaluate_every: 2,
        test_per_class: 2,
        lora: Some(LoraConfig {
            r: 4,
            ..LoraConfig::default()
        }),
        out: dir.path().join("run"),
        ..FineTune::default()
    };
    let base = Pretrained::<QwenVl>::load(asset("base"), &Device::flex()).unwrap();
    let train = few_shot(&data, 2, 1).unwrap();
    let recipe = Recipe::no_thinking_rl();
    settings.run(base, &recipe, &train, &data).unwrap();
    let records = data.records(Split::Test).unwrap();
    write_pictures(&dir.path().join("photos"), &records[..PICTURES]);
    write_pictures(&dir.path().join("all"), records);
    Fixture { dir, settings }
});

/// The pictures of records as files whose names are in their order.
fn write_pictures(dir: &Path, records: &[Record]) {
    fs::create_dir(dir).unwrap();
    for (number, record) in records.iter().enumerate() {
        let ImageSource::Gray {
            width,
            height,
            pixels,
            ..
        } = &record.image
        else {
            panic!("Fashion-MNIST is grey");
        };
        let image = image::GrayImage::from_raw(*width, *height, pixels.to_vec()).unwrap();
        image.save(dir.join(format!("{number:04}.png"))).unwrap();
    }
}

impl Fixture {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the evaluation of the saved model says of the pictures.
    fn evaluated(&self) -> Vec<Answer> {
        let model = self.path("run/model");
        let base = Pretrained::<QwenVl>::load(model, &Device::flex()).unwrap();
        let data = FashionMnist::open(asset("fashion-mnist")).unwrap();
        let all = FineTune {
            test_per_class: 0,
            ..self.settings.clone()
        };
        let found = evaluate(&base, &Recipe::no_thinking_rl(), &all, &data).unwrap();
        found.answers
    }
}

fn classify(args: &[&str]) -> Command {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap().join("examples");
    let binary = folder.join(format!("classify{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.exists(), "{} is not built", binary.display());
    let mut command = Command::new(binary);
    command.args(args);
    command
}

/// `classify --run` over a folder or a list into a file, in batches of 8.
fn of_run(out: &Path, images: &Path) -> Command {
    let mut command = classify(&["--batch", "8", "--run"]);
    command.arg(FIXTURE.path("run"));
    command.arg("--images").arg(images).arg("--out").arg(out);
    command
}

fn classify_into(out: &Path, images: &Path, more: &[&str]) -> Output {
    of_run(out, images).args(more).output().unwrap()
}

fn succeeds(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{error}");
    error
}

fn fails(output: &Output, parts: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

fn answers(path: &Path) -> Vec<PictureAnswer> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_run_classifies_as_its_evaluation_does() {
    let fixture = &*FIXTURE;
    let out = fixture.path("all.jsonl");
    let said = succeeds(&classify_into(&out, &fixture.path("all"), &[]));
    let (found, expected) = (answers(&out), fixture.evaluated());
    assert!(found.len() >= 1000 && found.len() == expected.len());
    let pictures = format!("{} pictures in ", found.len());
    assert!(
        said.contains(&pictures) && said.contains("pictures a second"),
        "{said}"
    );
    for (number, (answer, expected)) in found.iter().zip(&expected).enumerate() {
        assert!(answer.image.ends_with(&format!("{number:04}.png")));
        assert_eq!(answer.completion.as_deref(), Some(&*expected.completion));
        if expected.predicted.is_some() {
            assert_eq!(answer.answer, expected.predicted);
        }
        let sum: f64 = answer.probabilities.values().sum();
        assert!((sum - 1.0).abs() < 1e-9 && answer.probabilities.len() == 10);
        let own = answer
            .answer
            .as_ref()
            .map(|name| answer.probabilities[name]);
        assert_eq!(answer.probability, own);
    }
    // The adapter alone, on its base, says the same as the merged model.
    let adapted = fixture.path("adapted.jsonl");
    succeeds(&classify_into(
        &adapted,
        &fixture.path("photos"),
        &["--weights", "adapter"],
    ));
    for (merged, adapted) in found.iter().zip(answers(&adapted)) {
        assert_eq!(merged.completion, adapted.completion);
        let (a, b) = (merged.probability.unwrap(), adapted.probability.unwrap());
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn a_killed_process_is_gone_on_with_to_the_same_bytes() {
    let fixture = &*FIXTURE;
    let photos = fixture.path("photos");
    let whole = fixture.path("unbroken.jsonl");
    succeeds(&classify_into(&whole, &photos, &[]));
    let whole = fs::read(whole).unwrap();
    let out = fixture.path("killed.jsonl");
    // Killed when its first lines are there.
    let mut child = of_run(&out, &photos).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while fs::metadata(&out).map_or(0, |file| file.len()) == 0 {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let said = succeeds(&classify_into(&out, &photos, &[]));
    assert!(fs::read(&out).unwrap() == whole, "{said}");
    // Cut anywhere: within a line, within a batch, at the end.
    for keep in [
        1,
        whole.len() / 3,
        whole.len() / 2 + 7,
        whole.len() - 1,
        whole.len(),
    ] {
        fs::write(&out, &whole[..keep]).unwrap();
        succeeds(&classify_into(&out, &photos, &[]));
        assert!(fs::read(&out).unwrap() == whole, "cut after {keep} bytes");
    }
}

#[test]
fn a_file_of_other_settings_is_refused() {
    let fixture = &*FIXTURE;
    let photos = fixture.path("photos");
    let out = fixture.path("settings.jsonl");
    succeeds(&classify_into(&out, &photos, &[]));
    let whole = fs::read(&out).unwrap();
    for (more, named) in [
        (["--choices", "Bag,Coat"], "`question`"),
        (["--question", "What is it?"], "`question`"),
    ] {
        let output = classify_into(&out, &photos, &more);
        fails(&output, &[named, "settings.jsonl", "other settings"]);
    }
    let mut other = classify(&["--batch", "4", "--run"]);
    other.arg(fixture.path("run")).arg("--images").arg(&photos);
    fails(
        &other.arg("--out").arg(&out).output().unwrap(),
        &["`batch`"],
    );
    fs::remove_file(fixture.path("settings.jsonl.settings.json")).unwrap();
    fails(
        &classify_into(&out, &photos, &[]),
        &["nothing tells how it was made"],
    );
    assert_eq!(fs::read(&out).unwrap(), whole);
}

#[test]
fn answers_of_other_pictures_and_edited_lines_are_not_gone_on_with() {
    let fixture = &*FIXTURE;
    let photos = fixture.path("changing");
    fs::create_dir(&photos).unwrap();
    for number in 0..20 {
        let name = format!("{number:04}.png");
        fs::copy(fixture.path("photos").join(&name), photos.join(&name)).unwrap();
    }
    let out = fixture.path("changing.jsonl");
    succeeds(&classify_into(&out, &photos, &[]));
    let whole = fs::read_to_string(&out).unwrap();
    succeeds(&classify_into(&out, &photos, &[]));
    let (first, second) = (photos.join("0002.png"), photos.join("0003.png"));
    let picture = fs::read(&first).unwrap();
    fs::copy(&second, &first).unwrap();
    fails(
        &classify_into(&out, &photos, &[]),
        &[
            "changing.jsonl: line 3: the picture ",
            "0002.png changed since it was asked about",
        ],
    );
    fs::remove_file(&first).unwrap();
    fs::write(&first, picture).unwrap();
    // The same bytes again, at another time.
    succeeds(&classify_into(&out, &photos, &[]));
    let answer = answers(&out)[4].answer.clone().unwrap();
    let edited: Vec<String> = whole
        .lines()
        .enumerate()
        .map(|(place, line)| match place {
            4 => line.replace(&format!("\"answer\":\"{answer}\""), "\"answer\":\"Hat\""),
            _ => line.to_owned(),
        })
        .collect();
    let edited = edited.join("\n") + "\n";
    assert_ne!(edited, whole);
    fs::write(&out, &edited).unwrap();
    fails(
        &classify_into(&out, &photos, &[]),
        &["changing.jsonl: line 5: is not as it was written"],
    );
    assert_eq!(fs::read_to_string(&out).unwrap(), edited);
    fs::write(&out, &whole).unwrap();
    fs::remove_file(fixture.path("changing.jsonl.checksums.jsonl")).unwrap();
    fails(
        &classify_into(&out, &photos, &[]),
        &["nothing tells of which pictures it is"],
    );
    assert_eq!(fs::read_to_string(&out).unwrap(), whole);
}

#[test]
fn flags_that_mean_nothing_are_refused() {
    let run = FIXTURE.path("run");
    let run = ["--run", run.to_str().unwrap()];
    let picture = FIXTURE.path("photos/0000.png");
    let one = ["--image", picture.to_str().unwrap()];
    for (more, flag) in [
        (&["--batch", "4"][..], "--batch"),
        (&["--out", "answers.jsonl"], "--out"),
        (&["--max-pixels", "784"], "--max-pixels"),
        (&["--weights", "none"], "--weights"),
    ] {
        let args = [&run[..], &one, more].concat();
        fails(&classify(&args).output().unwrap(), &[flag]);
    }
    let photos = FIXTURE.path("photos");
    let many = ["--images", photos.to_str().unwrap(), "--batch", "0"];
    let args = [&run[..], &many].concat();
    fails(
        &classify(&args).output().unwrap(),
        &["--batch", "at least 1"],
    );
}

#[test]
fn a_damaged_picture_is_told_in_its_line_and_a_page_shows_all() {
    let fixture = &*FIXTURE;
    let folder = fixture.path("damaged");
    fs::create_dir(&folder).unwrap();
    for name in ["0000.png", "0001.png"] {
        fs::copy(fixture.path("photos").join(name), folder.join(name)).unwrap();
    }
    fs::write(folder.join("0000b.png"), "no picture").unwrap();
    let list = folder.join("list.txt");
    fs::write(&list, "0001.png\n0000b.png\nnone.png\n0000.png\n").unwrap();
    let (out, page) = (fixture.path("list.jsonl"), fixture.path("page.html"));
    let html = ["--html", page.to_str().unwrap()];
    let said = succeeds(&classify_into(&out, &list, &html));
    let told = "warning: 2 of 4 pictures have no answer; their lines say why";
    assert!(said.contains(told), "{said}");
    let found = answers(&out);
    let errors: Vec<_> = found.iter().map(|answer| answer.error.is_some()).collect();
    assert_eq!(errors, [false, true, true, false]);
    assert!(found[1].answer.is_none() && found[1].image.ends_with("0000b.png"));
    let page = fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 2);
    assert_eq!(page.matches("<div class=\"wrong\">").count(), 2);
    assert!(!page.contains("src=\"http") && page.contains("cannot be read"));
    // Lines go to standard output where no file is named.
    let run = fixture.path("run");
    let args = [
        "--run",
        run.to_str().unwrap(),
        "--images",
        list.to_str().unwrap(),
    ];
    let output = classify(&args).output().unwrap();
    succeeds(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 4);
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["answer"], found[0].answer.clone().unwrap());
}

#[test]
fn thoughts_stand_apart_from_answers() {
    let base = Pretrained::<QwenVl>::load(asset("base"), &Device::flex()).unwrap();
    let question = Question {
        text: "What type of object is in the photo?".into(),
        choices: ["Bag", "Coat"].map(String::from).to_vec(),
    };
    let settings = FineTune {
        sampling: visrl::rollout::SamplingParams::greedy(48),
        ..FineTune::default()
    };
    let mut thinking = Classifier::new(base, &Recipe::cls_rl(), &settings, question).unwrap();
    let picture = ImageSource::path(FIXTURE.path("photos").join("0000.png"));
    let answers = thinking.classify(&[picture]).unwrap();
    let said = answers[0].completion.as_deref().unwrap();
    assert_eq!(
        answers[0].thought.is_some(),
        said.contains("<think>"),
        "{said}"
    );
    assert!(["Bag", "Coat"].contains(&answers[0].answer.as_deref().unwrap()));
    let sum: f64 = answers[0].probabilities.values().sum();
    assert!((sum - 1.0).abs() < 1e-9);
}

#[test]
fn a_folder_that_is_no_run_s_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let of = |dir: &Path, weights| {
        let found = Classifier::of_run(dir, &Device::flex(), weights, Question::default());
        found.map(drop).unwrap_err().to_string()
    };
    let error = of(dir.path(), None);
    assert!(error.contains("is not the folder of a run"), "{error}");
    let config = FIXTURE.path("run/config.json");
    fs::copy(config, dir.path().join("config.json")).unwrap();
    assert!(of(dir.path(), None).contains("holds no model/, best/ or adapter/"));
    assert!(of(dir.path(), Some(RunWeights::Best)).contains("holds no best/"));
    // Names to choose from mean nothing to a run that shows none.
    let path = dir.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["fine_tune"]["choices"] = serde_json::json!({ "kind": "open" });
    fs::write(&path, config.to_string()).unwrap();
    let question = Question {
        text: String::new(),
        choices: vec!["Bag".into()],
    };
    let found = Classifier::of_run(dir.path(), &Device::flex(), None, question);
    let error = found.map(drop).unwrap_err().to_string();
    assert!(
        error.contains("config.json") && error.contains("leave `--choices` out"),
        "{error}"
    );
}

#[test]
fn what_a_run_saves_says_what_it_is() {
    let run = FIXTURE.path("run");
    for (folder, library) in [
        ("model", "transformers"),
        ("best", "transformers"),
        ("adapter", "peft"),
    ] {
        let card = fs::read_to_string(run.join(folder).join("README.md")).unwrap();
        let (yaml, body) = card
            .strip_prefix("---\n")
            .and_then(|rest| rest.split_once("\n---\n"))
            .unwrap();
        for line in [
            &format!("library_name: {library}"),
            "- accuracy",
            "- grpo",
            "- lora",
            "pipeline_tag: image-text-to-text",
        ] {
            assert!(yaml.lines().any(|other| other == line), "`{line}`: {yaml}");
        }
        assert!(yaml.contains("assets/base"), "{yaml}");
        for text in [
            "| base | ",
            "after 3 steps",
            " % ± ",
            "`Ankle boot`",
            "learning rate",
        ] {
            assert!(body.contains(text), "`{text}`: {body}");
        }
    }
    let read = |path: PathBuf| -> Value {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let base = read(asset("base/generation_config.json"));
    let saved = read(run.join("model/generation_config.json"));
    assert_eq!(saved["eos_token_id"], base["eos_token_id"]);
    assert_eq!(saved["temperature"], 1.0);
    assert_eq!(
        (&saved["top_k"], &saved["max_new_tokens"]),
        (&50.into(), &8.into())
    );
}
