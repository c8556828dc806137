//! Models by their names on the hub, where nothing is downloaded: those of the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Asks `--model NAME` about a picture, with a cache of the hub's and no way to the hub.
fn classify(cache: &Path, name: &str) -> Output {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap().join("examples");
    let binary = folder.join(format!("classify{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.exists(), "{} is not built", binary.display());
    let picture = cache.join("picture.png");
    let grey = image::GrayImage::from_pixel(28, 28, image::Luma([90]));
    grey.save(&picture).unwrap();
    let mut command = Command::new(binary);
    command.args(["--model", name, "--choices", "Bag,Coat", "--image"]);
    command.arg(picture).current_dir(cache);
    command.env("HF_HOME", cache).env_remove("HF_HUB_CACHE");
    command.env("HF_HUB_OFFLINE", "1");
    command.output().unwrap()
}

/// The embedded model in a cache as the hub's own tools lay it out.
fn cached(cache: &Path) -> PathBuf {
    let model = cache.join("hub/models--org--net");
    let snapshot = model.join("snapshots").join(COMMIT);
    fs::create_dir_all(model.join("refs")).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(model.join("refs/main"), COMMIT).unwrap();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/base");
    for entry in fs::read_dir(base).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, snapshot.join(path.file_name().unwrap())).unwrap();
    }
    snapshot
}

fn answers(output: &Output) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("answer: ") && error.is_empty(),
        "{said}{error}"
    );
}

fn fails(output: &Output, parts: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn a_model_of_the_cache_is_loaded_by_its_name() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cached(cache.path());
    answers(&classify(cache.path(), "org/net"));
    answers(&classify(cache.path(), &format!("org/net@{COMMIT}")));
    fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    let output = classify(cache.path(), "org/net");
    fails(
        &output,
        &["org/net: there is no folder", "lacks model.safetensors"],
    );
}

#[test]
fn what_is_nowhere_is_told_with_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let output = classify(cache.path(), "org/net@v2");
    fails(
        &output,
        &[
            "org/net@v2: there is no folder of this name",
            "lacks config.json",
        ],
    );
    fails(
        &output,
        &[if cfg!(feature = "hub") {
            "HF_HUB_OFFLINE"
        } else {
            "hf download org/net"
        }],
    );
    // What can be no name is a folder that is missing.
    fails(&classify(cache.path(), "./org/net"), &["config.json"]);
}

#[test]
fn a_folder_of_that_name_goes_before() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cached(cache.path());
    fs::create_dir(cache.path().join("org")).unwrap();
    fs::rename(snapshot, cache.path().join("org/net")).unwrap();
    answers(&classify(cache.path(), "org/net"));
}
