//! From the samples of a component to rows of the image's width: chroma is enlarged with the
//! triangle filters of libjpeg.

use super::blocks::{Block, natural};
use super::header::{Component, Frame};
use super::transform;
use crate::multiversion::multiversion;

/// How a plane gets the width or height of the image.
#[derive(Clone, Copy, PartialEq)]
enum Enlarge {
    /// Every sample so many times.
    Repeat(usize),
    /// Twice, new samples at 1/4 and 3/4 between old ones.
    Triangle,
}

/// The samples of a component: two bands, of the last two rows of MCUs.
pub(super) struct Plane {
    samples: Vec<u8>,
    stride: usize,
    /// Rows of a band.
    rows: usize,
    /// Samples that belong to the image.
    width: usize,
    height: usize,
    across: Enlarge,
    down: Enlarge,
    /// A row of weighted sums of two rows, and the row that was made last.
    sums: Vec<u16>,
    out: Vec<u8>,
    /// Quantization steps in natural order.
    table: [i16; 64],
}

impl Plane {
    pub(super) fn new(frame: &Frame, component: &Component) -> Result<Self, &'static str> {
        let factor = |axis: usize| {
            let (most, own) = (frame.sampling[axis], component.sampling[axis]);
            if most.is_multiple_of(own) {
                Ok(most / own)
            } else {
                Err("has fractional sampling")
            }
        };
        let (across, down) = (factor(0)?, factor(1)?);
        // Planes of 2 columns are too narrow for the filter, as libjpeg has it.
        let wide = component.width > 2;
        let (across, down) = match (across, down) {
            (2, 1) if wide => (Enlarge::Triangle, Enlarge::Repeat(1)),
            (2, 2) if wide => (Enlarge::Triangle, Enlarge::Triangle),
            (1, 2) => (Enlarge::Repeat(1), Enlarge::Triangle),
            (across, down) => (Enlarge::Repeat(across), Enlarge::Repeat(down)),
        };
        let steps = component.quantization.ok_or("lacks a quantization table")?;
        let mut table = [0; 64];
        for (k, &step) in steps.iter().enumerate() {
            table[natural(k)] = step as i16;
        }
        let (stride, rows) = (component.blocks[0] * 8, component.sampling[1] * 8);
        Ok(Self {
            samples: vec![0; 2 * rows * stride],
            stride,
            rows,
            width: component.width,
            height: component.height,
            across,
            down,
            sums: vec![0; component.width],
            out: vec![0; 4 * component.width],
            table,
        })
    }

    /// Adds the blocks of a row of MCUs; the rows come one after the other.
    pub(super) fn add_blocks(&mut self, row: usize, blocks: &[Block]) {
        let len = self.rows * self.stride;
        let band = &mut self.samples[row % 2 * len..][..len];
        transform::inverse_all(blocks, &self.table, band, self.stride / 8);
    }

    fn source(&self, y: usize) -> &[u8] {
        let y = y.min(self.height - 1) % (2 * self.rows);
        &self.samples[y * self.stride..][..self.width]
    }

    /// Row `y` of the image; it may be longer than the image is wide. The bands must hold the samples
    /// at and beside it.
    pub(super) fn row(&mut self, y: usize) -> &[u8] {
        if let (Enlarge::Repeat(1), Enlarge::Repeat(times)) = (self.across, self.down) {
            return self.source(y / times);
        }
        let mut out = std::mem::take(&mut self.out);
        let mut sums = std::mem::take(&mut self.sums);
        match self.down {
            Enlarge::Repeat(times) => {
                let near = self.source(y / times);
                match self.across {
                    Enlarge::Repeat(times) => repeat(near, times, &mut out),
                    Enlarge::Triangle => triangle_of_one(near, &mut out),
                }
            }
            Enlarge::Triangle => {
                let (near, far) = if y.is_multiple_of(2) {
                    (y / 2, (y / 2).saturating_sub(1))
                } else {
                    (y / 2, y / 2 + 1)
                };
                let (near, far) = (self.source(near), self.source(far));
                match self.across {
                    Enlarge::Repeat(_) => between(near, far, 1 + (y % 2) as u16, &mut out),
                    Enlarge::Triangle => {
                        blend(near, far, &mut sums);
                        triangle(&sums, &mut out);
                    }
                }
            }
        }
        (self.out, self.sums) = (out, sums);
        &self.out
    }
}

/// Repeats every sample of a row.
fn repeat(row: &[u8], times: usize, out: &mut [u8]) {
    for (out, &sample) in out.chunks_exact_mut(times).zip(row) {
        out.fill(sample);
    }
}

/// Doubles a row of at least 2 values: `(3 * near + far + bias) >> shift`, with a bias for left and
/// one for right samples; the outermost ones have no neighbour and weigh 4.
#[inline(always)]
fn double<T: Copy + Into<u16>>(row: &[T], bias: [u16; 2], shift: u32, out: &mut [u8]) {
    let pair = |left: T, near: T, right: T| {
        let near = 3 * near.into();
        let left = (near + left.into() + bias[0]) >> shift;
        let right = (near + right.into() + bias[1]) >> shift;
        // Two samples as one number keep vectors whole.
        (left | right << 8).to_le_bytes()
    };
    let last = row.len() - 1;
    let pairs = &mut out.as_chunks_mut::<2>().0[..=last];
    pairs[0] = pair(row[0], row[0], row[1]);
    for (out, &[left, near, right]) in pairs[1..last].iter_mut().zip(row.array_windows()) {
        *out = pair(left, near, right);
    }
    pairs[last] = pair(row[last - 1], row[last], row[last]);
}

multiversion! {
    /// Doubles a row.
    fn triangle_of_one(row: &[u8], out: &mut [u8]) {
        double(row, [1, 2], 2, out);
    }

    /// Doubles a row of weighted sums.
    fn triangle(sums: &[u16], out: &mut [u8]) {
        double(sums, [8, 7], 4, out);
    }

    /// Weighted sums of two rows, 3 : 1.
    fn blend(near: &[u8], far: &[u8], sums: &mut [u16]) {
        for (sum, (&near, &far)) in sums.iter_mut().zip(near.iter().zip(far)) {
            *sum = 3 * u16::from(near) + u16::from(far);
        }
    }

    /// A row between two rows.
    fn between(near: &[u8], far: &[u8], bias: u16, out: &mut [u8]) {
        for (out, (&near, &far)) in out.iter_mut().zip(near.iter().zip(far)) {
            *out = ((3 * u16::from(near) + u16::from(far) + bias) >> 2) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_triangle_lies_between_its_neighbours() {
        let mut out = [0; 6];
        triangle_of_one(&[0, 100, 200], &mut out);
        assert_eq!(out, [0, 25, 75, 125, 175, 200]);
        triangle(&[0, 400, 800], &mut out);
        assert_eq!(out, [0, 25, 75, 125, 175, 200]);
    }

    #[test]
    fn rows_of_every_length_are_doubled_as_the_plain_formula_says() {
        let row: Vec<u8> = (0..70u32).map(|i| (i * i * 37 % 256) as u8).collect();
        for len in 2..row.len() {
            let row = &row[..len];
            let mut out = vec![0; 2 * len];
            triangle_of_one(row, &mut out);
            for (i, &found) in out.iter().enumerate() {
                let near = i / 2;
                let (far, bias) = match i % 2 {
                    0 => (near.saturating_sub(1), 1),
                    _ => ((near + 1).min(len - 1), 2),
                };
                let sum = 3 * u32::from(row[near]) + u32::from(row[far]) + bias;
                assert_eq!(u32::from(found), sum / 4, "{i} of {len}");
            }
        }
    }
}
