//! Where fixtures lie, and how their numbers are compared.

#[allow(dead_code)]
pub(crate) mod cases;
#[allow(dead_code)]
pub(crate) mod rewards;

use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::Value;

/// The fixture folder: `VISRL_FIXTURES`, or the one in the repository.
pub(crate) fn grpo_fixtures() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(std::env::var_os("VISRL_FIXTURES").unwrap_or_else(|| "tests/fixtures".into()));
    root.join("grpo")
}

/// A JSON file of the fixture folder.
pub(crate) fn json(name: &str) -> Value {
    let path = grpo_fixtures().join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"))
}

/// A number, or the string "nan".
pub(crate) fn number(value: &Value) -> f64 {
    match value {
        Value::String(s) if s == "nan" => f64::NAN,
        other => other
            .as_f64()
            .unwrap_or_else(|| panic!("not a number: {other}")),
    }
}

/// The shape and values of a tensor as f64; `None` when the file has no such tensor.
#[allow(dead_code)]
pub(crate) fn tensor(file: &SafeTensors<'_>, name: &str) -> Option<(Vec<usize>, Vec<f64>)> {
    let view = file.tensor(name).ok()?;
    let bytes = view.data();
    let values = match view.dtype() {
        Dtype::F64 => chunks(bytes, f64::from_le_bytes),
        Dtype::F32 => chunks(bytes, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::I64 => chunks(bytes, |b| i64::from_le_bytes(b) as f64),
        Dtype::BOOL => chunks(bytes, |[b]| f64::from(b)),
        other => panic!("{name}: unexpected {other:?}"),
    };
    Some((view.shape().to_vec(), values))
}

fn chunks<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes
        .chunks_exact(N)
        .map(|c| read(c.try_into().unwrap()))
        .collect()
}

/// Whether two numbers agree: both NaN, or within `relative` of the larger of `expected` and
/// `scale`.
pub(crate) fn agree(found: f64, expected: f64, relative: f64, scale: f64) -> bool {
    if expected.is_nan() {
        return found.is_nan();
    }
    (found - expected).abs() <= relative * expected.abs().max(scale)
}
