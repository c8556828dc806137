//! Safetensors files and the index of shards.

use std::fs;

use serde_json::{Value, json};
use visrl_vlm::{SafetensorsDir, WeightSource};

use crate::mutate::{self, Rng};
use crate::{MIB, folder, group};

const TENSORS: [(&str, &[usize]); 4] = [
    ("model.norm.weight", &[6]),
    ("model.embed_tokens.weight", &[5, 6]),
    ("model.language_model.layers.0.mlp.up_proj.weight", &[7, 6]),
    ("visual.patch_embed.proj.weight", &[2, 3, 1, 2, 2]),
];

fn header() -> Value {
    let mut fields = json!({ "__metadata__": { "format": "pt" } });
    let mut start = 0;
    for (n, (name, shape)) in TENSORS.iter().enumerate() {
        let (dtype, size) = [("F32", 4), ("BF16", 2), ("F16", 2), ("F32", 4)][n];
        let end = start + shape.iter().product::<usize>() * size;
        fields[name] = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
        start = end;
    }
    fields
}

fn file(header: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(data);
    bytes
}

/// Changes offsets, shapes and formats so that they stay plausible.
fn bend(rng: &mut Rng, header: &mut Value) {
    let (name, _) = *rng.pick(&TENSORS);
    let field = &mut header[name];
    match rng.below(4) {
        0 => {
            const DTYPES: [&str; 12] = [
                "F32", "BF16", "F16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "F4", "C64", "I1", "",
            ];
            field["dtype"] = json!(rng.pick(&DTYPES));
        }
        1 => {
            let at = rng.below(2);
            let old = field["data_offsets"][at].as_u64().unwrap_or(0);
            let new = *rng.pick(&[
                old.wrapping_add(4),
                old.wrapping_sub(4),
                0,
                u64::MAX,
                u64::MAX / 2,
                1 << 40,
                old * 2,
            ]);
            field["data_offsets"][at] = json!(new);
        }
        2 => {
            let sides = [0, 1, 2, 6, 1 << 31, 1 << 62, u64::MAX];
            let shape: Vec<u64> = (0..rng.below(6)).map(|_| *rng.pick(&sides)).collect();
            field["shape"] = json!(shape);
        }
        _ => {
            let copy = field.clone();
            header[rng.pick(&TENSORS).0] = copy;
        }
    }
}

#[test]
fn safetensors_files() {
    let dir = folder();
    let path = dir.path().join("model.safetensors");
    let header = header();
    let data: Vec<u8> = (0..24 + 60 + 84 + 96).map(|i| (i * 7 % 64) as u8).collect();
    let whole = file(header.to_string().as_bytes(), &data);
    fs::write(&path, &whole).unwrap();
    let mut weights = SafetensorsDir::open(dir.path()).unwrap();
    let names: Vec<String> = TENSORS
        .map(|(n, _)| n.replace("language_model.", ""))
        .to_vec();
    let expected: Vec<Vec<f32>> = names
        .iter()
        .zip(TENSORS)
        .map(|(name, (_, shape))| weights.read(name, shape).unwrap())
        .collect();
    drop(weights);
    group("model.safetensors", 4 * MIB, |rng| {
        let mut header = header.clone();
        let mut data = data.clone();
        let mut unharmed = false;
        let bytes = match rng.below(5) {
            0 => {
                let mut bytes = whole.clone();
                mutate::bytes(rng, &mut bytes);
                bytes
            }
            1 => file(&mutate::json_text(rng, &header), &data),
            2 => {
                // The length of the header, of which other lengths follow.
                let mut bytes = whole.clone();
                let len = *rng.pick(&[0, 1, 7, 1 << 20, 1 << 40, u64::MAX, u64::MAX - 7]);
                bytes[..8].copy_from_slice(&len.to_le_bytes());
                bytes
            }
            3 => {
                for _ in 0..1 + rng.below(2) {
                    bend(rng, &mut header);
                }
                if rng.one_in(2) {
                    data.resize(rng.below(600), 1);
                }
                file(header.to_string().as_bytes(), &data)
            }
            _ => {
                // Blanks after the header are allowed.
                unharmed = true;
                let text = header.to_string() + &" ".repeat(rng.below(9));
                file(text.as_bytes(), &data)
            }
        };
        fs::write(&path, bytes).unwrap();
        let Ok(mut weights) = SafetensorsDir::open(dir.path()) else {
            assert!(!unharmed);
            return false;
        };
        let mut all = true;
        for ((name, (_, shape)), expected) in names.iter().zip(TENSORS).zip(&expected) {
            let read = weights.read(name, shape);
            let turned = weights.read_transposed(name, shape);
            all &= read.is_ok();
            assert_eq!(read.is_ok(), turned.is_ok());
            let Ok(values) = read else { continue };
            assert_eq!(values.len(), shape.iter().product::<usize>());
            assert!(!unharmed || values == *expected);
        }
        assert!(all || !unharmed);
        all
    });
}

#[test]
fn shard_indices() {
    let dir = folder();
    let shard = |name: &str| {
        let header = json!({ name: { "dtype": "F32", "shape": [2], "data_offsets": [0, 8] } });
        file(header.to_string().as_bytes(), &[0; 8])
    };
    let index = json!({ "metadata": { "total_size": 16 }, "weight_map": {
        "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors",
    } });
    fs::write(
        dir.path().join("model-00001-of-00002.safetensors"),
        shard("a"),
    )
    .unwrap();
    fs::write(
        dir.path().join("model-00002-of-00002.safetensors"),
        shard("b"),
    )
    .unwrap();
    group("model.safetensors.index.json", 2 * MIB, |rng| {
        let path = dir.path().join("model.safetensors.index.json");
        fs::write(path, mutate::json_text(rng, &index)).unwrap();
        let Ok(mut weights) = SafetensorsDir::open(dir.path()) else {
            return false;
        };
        let names: Vec<String> = weights.names().map(str::to_owned).collect();
        names
            .iter()
            .all(|name| weights.read(name, &[2]).unwrap() == [0.0; 2])
    });
}
