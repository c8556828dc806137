//! An image as a vision tower takes it.

/// An image as a vision tower takes it.
#[derive(Clone, PartialEq)]
pub struct ProcessedImage {
    /// Normalized patches, `[patches, patch_dim]`.
    pub pixel_values: Vec<f32>,
    /// Values of a patch: channels x frames x patch height x patch width.
    pub patch_dim: usize,
    /// Time, height and width in patches.
    pub grid: [usize; 3],
}

impl ProcessedImage {
    /// An image of patches, `[grid[0] * grid[1] * grid[2], patch_dim]`; the width of a patch
    /// follows from the number of values.
    pub fn new(pixel_values: Vec<f32>, grid: [usize; 3]) -> Self {
        let patches = grid.iter().product::<usize>().max(1);
        Self {
            patch_dim: pixel_values.len() / patches,
            pixel_values,
            grid,
        }
    }

    /// The number of patches.
    pub fn patches(&self) -> usize {
        self.grid.iter().product()
    }

    /// The number of visual tokens when blocks of `merge` x `merge` patches become one.
    pub fn tokens(&self, merge: usize) -> usize {
        image_tokens(self.grid, merge)
    }
}

impl std::fmt::Debug for ProcessedImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            patch_dim, grid, ..
        } = self;
        write!(
            f,
            "ProcessedImage(grid {grid:?}, {patch_dim} values per patch)"
        )
    }
}

/// The number of visual tokens of a grid when blocks of `merge` x `merge` patches become one.
pub fn image_tokens(grid: [usize; 3], merge: usize) -> usize {
    grid.iter().product::<usize>() / (merge * merge).max(1)
}
