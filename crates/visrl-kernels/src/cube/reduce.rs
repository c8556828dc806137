//! Sums and maxima over the units of a cube.

use cubecl::prelude::*;

use super::launch::WIDTH;

/// Below all scores.
pub(crate) const LOWEST: f32 = f32::MIN;

/// The sum of what the units of a cube hold, for each of them. All must call it.
#[cube]
pub(crate) fn cube_sum(value: f32) -> f32 {
    let mut shared = Shared::<[f32]>::new_slice(WIDTH);
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = comptime!(WIDTH / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    let sum = shared[0];
    sync_cube();
    sum
}

/// The largest of what the units of a cube hold, for each of them. All must call it.
#[cube]
pub(crate) fn cube_max(value: f32) -> f32 {
    let mut shared = Shared::<[f32]>::new_slice(WIDTH);
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = comptime!(WIDTH / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            if other > shared[unit] {
                shared[unit] = other;
            }
        }
        sync_cube();
        half /= 2;
    }
    let largest = shared[0];
    sync_cube();
    largest
}

/// `1 / (1 + exp(-x))`.
#[cube]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0f32 / (1.0f32 + (-x).exp())
}
