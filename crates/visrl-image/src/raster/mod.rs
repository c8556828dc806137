//! Decoded images and the conversions between their modes, with Pillow's arithmetic.

mod alpha;
mod mode;
mod pixels;
mod png;
mod resize;

pub use alpha::AlphaMode;
pub use mode::Mode;
pub use pixels::Raster;
