//! What the repository holds to try things with.

use std::path::{Path, PathBuf};

/// The embedded model.
pub fn model() -> PathBuf {
    assets().join("base")
}

/// The embedded part of Fashion-MNIST.
pub fn fashion_mnist() -> PathBuf {
    assets().join("fashion-mnist")
}

fn assets() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().nth(2).unwrap_or(package);
    root.join("assets")
}
