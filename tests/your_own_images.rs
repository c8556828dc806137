//! The commands of docs/your-own-images.md, with the embedded model in the place of the 2B model.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use visrl::core::ImageSource;
use visrl::data::{Dataset, FashionMnist, Split};

/// The classes of the document's folder, and how many pictures each has.
const CLASSES: [&str; 3] = ["Bag", "Sandal", "Trouser"];
const PICTURES: usize = 40;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The example's name and arguments of each command, in the order of the document.
fn commands(text: &str) -> Vec<(String, Vec<String>)> {
    let mut commands = Vec::new();
    let mut rest = text;
    while let Some((_, block)) = rest.split_once("```sh\n") {
        let (block, after) = block.split_once("```").unwrap();
        rest = after;
        for command in block.replace("\\\n", " ").lines() {
            let (cargo, args) = command.split_once(" -- ").unwrap();
            assert!(cargo.starts_with("cargo run --release"), "{command}");
            let (_, name) = cargo.split_once("--example ").unwrap();
            let args = args.split_whitespace().map(own).collect();
            commands.push((name.to_owned(), args));
        }
    }
    commands
}

/// An argument, with what is at hand in the place of a large model and a GPU.
fn own(arg: &str) -> String {
    match arg {
        "Qwen/Qwen2-VL-2B-Instruct" => root().join("assets/base").display().to_string(),
        "tch:0" => "flex".to_owned(),
        arg => arg.to_owned(),
    }
}

/// The folder of the document: pictures of the embedded data, by class.
fn photos(dir: &Path) {
    let data = FashionMnist::open(root().join("assets/fashion-mnist")).unwrap();
    for class in CLASSES {
        let folder = dir.join(class);
        fs::create_dir_all(&folder).unwrap();
        let label = data.classes().iter().position(|name| name == class);
        let records = data.records(Split::Test).unwrap().iter();
        let of_class = records.filter(|record| Some(record.label) == label);
        for (number, record) in of_class.take(PICTURES).enumerate() {
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
            image
                .save(folder.join(format!("{:02}.png", number + 1)))
                .unwrap();
        }
    }
}

fn run(name: &str, args: &[String], dir: &Path) -> Output {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap().join("examples");
    let binary = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.exists(), "{} is not built", binary.display());
    let mut command = Command::new(binary);
    command.args(args).current_dir(dir);
    command.output().unwrap()
}

#[test]
fn every_command_does_what_the_document_says() {
    let text = fs::read_to_string(root().join("docs/your-own-images.md")).unwrap();
    let commands = commands(&text);
    let names: Vec<_> = commands.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "splits",
        "evaluate",
        "no_thinking_rl",
        "no_thinking_rl",
        "report",
        "classify",
        "classify",
    ];
    assert_eq!(names, expected);
    let dir = tempfile::tempdir().unwrap();
    photos(&dir.path().join("photos"));
    let mut said = Vec::new();
    for (name, args) in &commands {
        let output = run(name, args, dir.path());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name} {args:?}: {error}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push(text + &error);
    }
    // The document shows of each what it says.
    for (output, word) in said.iter().zip([
        "3 classes",
        "when the answer must be one of the choices",
        "accuracy on 60 test images",
        "accuracy on 60 test images",
        "report.html",
        "answer: Bag",
        "120 answers in answers.jsonl",
    ]) {
        assert!(output.contains(word), "`{word}` is not in: {output}");
        assert!(text.contains(word), "`{word}` is not in the document");
    }
    let lines = fs::read_to_string(dir.path().join("answers.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), CLASSES.len() * PICTURES);
    let page = fs::read_to_string(dir.path().join("answers.html")).unwrap();
    assert_eq!(page.matches("<article>").count(), CLASSES.len() * PICTURES);
    for file in ["model/README.md", "adapter/README.md", "report.html"] {
        assert!(dir.path().join("runs/photos").join(file).exists(), "{file}");
    }
}
