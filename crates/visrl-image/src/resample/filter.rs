//! Filters by Pillow's names.

use serde::{Deserialize, Serialize};

/// A resampling filter, by Pillow's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resample {
    /// The sample whose cell holds the centre of the new one.
    Nearest,
    /// Sinc windowed by a sinc, 3 lobes: the filter of the paper's resize to 384 x 384.
    Lanczos,
    /// A triangle.
    Bilinear,
    /// Keys' cubic with a = -0.5: the filter of Qwen2-VL's processor.
    #[default]
    Bicubic,
    /// The mean of the covered samples.
    Box,
    /// A raised cosine window of half-width 1.
    Hamming,
}

impl Resample {
    /// The number that Pillow and Hugging Face configurations use.
    pub fn code(self) -> u8 {
        match self {
            Self::Nearest => 0,
            Self::Lanczos => 1,
            Self::Bilinear => 2,
            Self::Bicubic => 3,
            Self::Box => 4,
            Self::Hamming => 5,
        }
    }

    /// The filter of a number, if there is one.
    pub fn from_code(code: u64) -> Option<Self> {
        [
            Self::Nearest,
            Self::Lanczos,
            Self::Bilinear,
            Self::Bicubic,
            Self::Box,
            Self::Hamming,
        ]
        .into_iter()
        .find(|filter| u64::from(filter.code()) == code)
    }

    /// Half-width of the filter in samples, at scale 1.
    pub(super) fn support(self) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    pub(super) fn weight(self, x: f64) -> f64 {
        match self {
            Self::Nearest | Self::Box => {
                if x > -0.5 && x <= 0.5 {
                    1.0
                } else {
                    0.0
                }
            }
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Hamming => {
                let x = x.abs();
                if x == 0.0 {
                    1.0
                } else if x >= 1.0 {
                    0.0
                } else {
                    let x = x * std::f64::consts::PI;
                    x.sin() / x * (0.54 + 0.46 * x.cos())
                }
            }
            Self::Bicubic => {
                const A: f64 = -0.5;
                let x = x.abs();
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
            Self::Lanczos => {
                if (-3.0..3.0).contains(&x) {
                    sinc(x) * sinc(x / 3.0)
                } else {
                    0.0
                }
            }
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Resample; 6] = [
        Resample::Nearest,
        Resample::Lanczos,
        Resample::Bilinear,
        Resample::Bicubic,
        Resample::Box,
        Resample::Hamming,
    ];

    #[test]
    fn codes_round_trip() {
        for filter in ALL {
            assert_eq!(Resample::from_code(u64::from(filter.code())), Some(filter));
        }
        assert_eq!(Resample::from_code(6), None);
    }
}
