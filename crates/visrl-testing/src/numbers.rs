//! Golden numbers in safetensors files.

use safetensors::{Dtype, SafeTensors};

/// The shape and the values of a tensor of f32, f64, i64 or bool, exact but for whole numbers beyond
/// 2^53; nothing where the file has no tensor of that name.
///
/// # Panics
/// When it holds numbers of another format.
pub fn numbers(file: &SafeTensors<'_>, name: &str) -> Option<(Vec<usize>, Vec<f64>)> {
    fn of<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        let (chunks, _) = bytes.as_chunks();
        chunks.iter().map(|chunk| read(*chunk)).collect()
    }
    let view = file.tensor(name).ok()?;
    let values = match view.dtype() {
        Dtype::F64 => of(view.data(), f64::from_le_bytes),
        Dtype::F32 => of(view.data(), |bytes| f64::from(f32::from_le_bytes(bytes))),
        Dtype::I64 => of(view.data(), |bytes| i64::from_le_bytes(bytes) as f64),
        Dtype::BOOL => of(view.data(), |[byte]| f64::from(byte)),
        other => panic!("{name} holds {other:?}"),
    };
    Some((view.shape().to_vec(), values))
}

/// As [`numbers`], in rows of the last axis.
///
/// # Panics
/// As [`numbers`], and for a single number, which has no axis.
pub fn rows(file: &SafeTensors<'_>, name: &str) -> Option<Vec<Vec<f64>>> {
    let (shape, values) = numbers(file, name)?;
    let width = *shape.last().expect("a tensor with axes");
    Some(values.chunks(width.max(1)).map(<[f64]>::to_vec).collect())
}
