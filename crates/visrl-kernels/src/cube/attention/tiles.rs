//! What the kernels do with tiles of 16 rows in shared memory.

use cubecl::prelude::*;

use crate::cube::launch::WIDTH;

/// Rows of a tile, and units for each.
pub(crate) const TILE: usize = 16;

/// What the rows of a tile may have room for.
pub(crate) const ROOMS: [usize; 2] = [64, 128];

const _: () = assert!(TILE * TILE == WIDTH);

/// Numbers in shared memory that the largest kernel asks for.
pub(super) fn shared_numbers(room: usize) -> usize {
    3 * TILE * (room + 1) + 2 * TILE * (TILE + 1)
}

/// Copies rows from `first` on to a tile, with zeros beyond the first `count`.
#[cube]
pub(super) fn load<E: Float>(
    from: &Tensor<E>,
    first: usize,
    count: usize,
    column: usize,
    dim: usize,
    to: &mut Shared<[f32]>,
    #[comptime] room: usize,
) {
    let row = UNIT_POS as usize / TILE;
    let mut place = UNIT_POS as usize % TILE;
    let start = (first + row) * from.stride(0) + column;
    while place < dim {
        let mut value = 0.0f32;
        if row < count {
            value = f32::cast_from(from[start + place]);
        }
        to[row * (room + 1) + place] = value;
        place += TILE;
    }
}

/// Copies query rows to a tile, with zeros where there is none. `token` and `head` are those of the
/// unit's row, which is there if `inside`.
#[cube]
pub(super) fn load_queries<E: Float>(
    from: &Tensor<E>,
    token: usize,
    column: usize,
    inside: bool,
    dim: usize,
    to: &mut Shared<[f32]>,
    #[comptime] room: usize,
) {
    let row = UNIT_POS as usize / TILE;
    let mut place = UNIT_POS as usize % TILE;
    let start = token * from.stride(0) + column;
    while place < dim {
        let mut value = 0.0f32;
        if inside {
            value = f32::cast_from(from[start + place]);
        }
        to[row * (room + 1) + place] = value;
        place += TILE;
    }
}

/// The product of a row of one tile and a row of another.
#[cube]
pub(super) fn product(
    a: &Shared<[f32]>,
    row_a: usize,
    b: &Shared<[f32]>,
    row_b: usize,
    dim: usize,
    #[comptime] room: usize,
) -> f32 {
    let (from_a, from_b) = (row_a * (room + 1), row_b * (room + 1));
    let mut sum = 0.0f32;
    let mut place = 0usize;
    while place < dim {
        sum += a[from_a + place] * b[from_b + place];
        place += 1;
    }
    sum
}

/// Adds the rows of a tile, by the weights of the unit's row, to the unit's columns.
#[cube]
pub(super) fn mix(
    weights: &Shared<[f32]>,
    rows: &Shared<[f32]>,
    sums: &mut Array<f32>,
    #[comptime] room: usize,
) {
    let row = UNIT_POS as usize / TILE;
    let lane = UNIT_POS as usize % TILE;
    for other in 0..TILE {
        let weight = weights[row * (TILE + 1) + other];
        let start = other * (room + 1) + lane;
        #[unroll]
        for part in 0..room / TILE {
            sums[part] += weight * rows[start + part * TILE];
        }
    }
}
