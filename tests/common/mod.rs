//! What tests of whole runs share: the embedded model and data, a run's files, and what came of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::Value;
use visrl::train::{Scalar, TensorBoard};
use visrl::vlm::{Pretrained, QwenVl};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn asset(name: &str) -> PathBuf {
    root().join("assets").join(name)
}

pub(crate) fn base() -> Pretrained<QwenVl> {
    Pretrained::load(asset("base"), &Device::flex()).unwrap()
}

/// The files of a folder with their bytes.
pub(crate) fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false if path.ends_with(".lock") => {}
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

/// Metrics without times, and weights.
pub(crate) fn outcome(out: &Path) -> (Vec<Value>, Vec<u8>) {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let metrics = text.lines().map(|line| {
        let mut step: Value = serde_json::from_str(line).unwrap();
        assert!(step.as_object_mut().unwrap().remove("seconds").is_some());
        step
    });
    let weights = fs::read(out.join("model/model.safetensors")).unwrap();
    (metrics.collect(), weights)
}

/// What TensorBoard shows, times aside.
pub(crate) fn events(out: &Path) -> Vec<Scalar> {
    let mut scalars = TensorBoard::read(out.join("events.out.tfevents")).unwrap();
    assert!(
        scalars
            .iter()
            .any(|scalar| scalar.tag == "evaluation/accuracy")
    );
    scalars.retain(|scalar| !scalar.tag.starts_with("seconds/"));
    scalars
}
