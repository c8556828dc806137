//! Decoded images and the conversions between their modes, with Pillow's arithmetic.

mod alpha;
mod mode;
mod pixels;
mod resize;

pub use alpha::AlphaMode;
pub use mode::Mode;
pub use pixels::Raster;
