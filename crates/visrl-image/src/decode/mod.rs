//! From files to pixels: PNG and JPEG, within limits, equal to what Pillow decodes.

mod jpeg;
mod limits;
mod open;
#[cfg(feature = "formats")]
mod others;
mod pixels;
mod png;

pub use limits::Limits;
