//! Fashion-MNIST, whole or a subset of it.

mod dataset;
mod subset;

pub use dataset::{FASHION_CLASSES, FashionMnist};
pub use subset::{FashionSubset, fashion_subset};
