//! How many cubes of how many units a kernel gets.

use cubecl::prelude::{CubeCount, CubeDim};

/// Units of every cube.
pub(crate) const UNITS: u32 = 256;

/// The same for indices in kernels.
pub(crate) const WIDTH: usize = UNITS as usize;

/// Cubes that every runtime takes along one axis.
const CUBES: usize = 65_535;

/// The cube that all kernels run in.
pub(crate) fn cube() -> CubeDim {
    CubeDim::new_1d(UNITS)
}

/// Cubes for this many pieces of work, one each; a kernel goes on from its cube to the one as many
/// pieces later as there are cubes.
pub(crate) fn cubes(pieces: usize) -> CubeCount {
    CubeCount::Static(pieces.min(CUBES) as u32, 1, 1)
}

/// Cubes for this many numbers, one for each unit.
pub(crate) fn cubes_of_units(numbers: usize) -> CubeCount {
    cubes(numbers.div_ceil(UNITS as usize))
}

/// Cubes for pieces along two axes, of which the second has few.
pub(crate) fn cubes_of_pairs(pieces: usize, few: usize) -> CubeCount {
    CubeCount::Static(pieces.min(CUBES) as u32, few.min(CUBES) as u32, 1)
}
