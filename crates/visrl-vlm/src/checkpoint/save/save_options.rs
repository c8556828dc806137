//! Number format and file size of saved weights.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// The number format of saved weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SaveDtype {
    /// 32-bit floats: what training on a CPU holds.
    #[default]
    F32,
    /// bfloat16, rounded to nearest even.
    Bf16,
    /// IEEE half precision, rounded to nearest even; beyond 65,504 it is infinite.
    F16,
}

impl SaveDtype {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// The format's name in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    /// Adds values to little-endian bytes.
    pub fn encode(self, values: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Self::F32 => bytes.extend(values.iter().flat_map(|x| x.to_le_bytes())),
            Self::Bf16 => {
                bytes.extend(values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()));
            }
            Self::F16 => {
                bytes.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()));
            }
        }
    }
}

/// How weights are saved.
///
/// A [`SaveDtype`] converts into the options with that format and the default shard size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SaveOptions {
    /// The number format.
    pub dtype: SaveDtype,
    /// The most bytes of tensors in one file; a larger tensor has a file of its own.
    pub max_shard_bytes: u64,
}

impl Default for SaveOptions {
    /// 32-bit floats in files of at most 5 GB.
    fn default() -> Self {
        Self {
            dtype: SaveDtype::default(),
            max_shard_bytes: 5_000_000_000,
        }
    }
}

impl From<SaveDtype> for SaveOptions {
    fn from(dtype: SaveDtype) -> Self {
        Self {
            dtype,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_round_to_nearest_even() {
        let values = [1.0, -2.5, 1.003_906_2, 1.011_718_8, 65_520.0, f32::NAN];
        let encoded = |dtype: SaveDtype| {
            let mut bytes = Vec::new();
            dtype.encode(&values, &mut bytes);
            assert_eq!(bytes.len(), values.len() * dtype.bytes());
            bytes
        };
        let f32s = encoded(SaveDtype::F32);
        assert_eq!(f32s[..4], 1f32.to_le_bytes());
        let words = |bytes: Vec<u8>| -> Vec<u16> {
            let pairs = bytes.as_chunks().0.iter();
            pairs.map(|&pair| u16::from_le_bytes(pair)).collect()
        };
        // 1 + 1/256 is a tie and goes down to 1; 1 + 3/256 is a tie and goes up to 1 + 4/256.
        let bf16s = words(encoded(SaveDtype::Bf16));
        assert_eq!(bf16s[..4], [0x3f80, 0xc020, 0x3f80, 0x3f82]);
        assert!(bf16::from_bits(bf16s[5]).is_nan());
        let f16s = words(encoded(SaveDtype::F16));
        assert_eq!(f16s[..5], [0x3c00, 0xc100, 0x3c04, 0x3c0c, 0x7c00]);
    }

    #[test]
    fn a_format_is_options_with_the_default_size() {
        let options = SaveOptions::from(SaveDtype::F16);
        assert_eq!(
            (options.dtype, options.max_shard_bytes),
            (SaveDtype::F16, 5_000_000_000)
        );
        let read: SaveOptions = serde_json::from_str(r#"{"dtype": "bf16"}"#).unwrap();
        assert_eq!(read, SaveDtype::Bf16.into());
    }
}
