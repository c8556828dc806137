//! How pixels are stored.

/// How the pixels of a [`Raster`](super::pixels::Raster) are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 8-bit grey.
    L,
    /// 8-bit grey and alpha.
    La,
    /// 8-bit red, green, blue.
    Rgb,
    /// 8-bit red, green, blue, alpha.
    Rgba,
    /// 16-bit grey, little endian.
    I16,
}

impl Mode {
    /// Bytes per pixel.
    pub fn bytes(self) -> usize {
        match self {
            Self::L => 1,
            Self::La | Self::I16 => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}
