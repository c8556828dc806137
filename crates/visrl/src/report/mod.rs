//! One self-contained HTML file about a run, a comparison or a cross-data-set table.
//!
//! Everything is in the file: curves and maps as SVG, images as data. It needs no script and no
//! network, and is as readable on a phone as on a screen.

mod charts;
mod page;
mod read;
mod render;
mod sections;
mod waiting;

pub use render::{render, write};
