//! From planes of their own sizes to interleaved samples: chroma is enlarged with the triangle
//! filters of libjpeg, and YCbCr becomes RGB in 16-bit fixed point.

use super::header::{Component, Frame};
use crate::processor::wide::wide;

/// Joins the planes of a frame.
pub(super) fn interleave(
    frame: &Frame,
    planes: &[Vec<u8>],
    is_rgb: bool,
) -> Result<Vec<u8>, &'static str> {
    let (width, height) = (frame.width, frame.height);
    let mut rows: Vec<Rows<'_>> = Vec::new();
    for (component, plane) in frame.components.iter().zip(planes) {
        rows.push(Rows::new(frame, component, plane)?);
    }
    let mut out = vec![0; width * height * rows.len()];
    match rows.as_mut_slice() {
        [gray] => {
            for (y, out) in out.chunks_exact_mut(width).enumerate() {
                out.copy_from_slice(&gray.row(y)[..width]);
            }
        }
        [a, b, c] => {
            for (y, out) in out.chunks_exact_mut(width * 3).enumerate() {
                let out = out.as_chunks_mut::<3>().0;
                let [a, b, c] = [a.row(y), b.row(y), c.row(y)];
                if is_rgb {
                    for (out, ((&a, &b), &c)) in out.iter_mut().zip(a.iter().zip(b).zip(c)) {
                        *out = [a, b, c];
                    }
                } else {
                    convert_row(a, b, c, out);
                }
            }
        }
        _ => return Err("has an unexpected number of components"),
    }
    Ok(out)
}

/// How a plane gets the width or height of the image.
#[derive(Clone, Copy, PartialEq)]
enum Enlarge {
    /// Every sample so many times.
    Repeat(usize),
    /// Twice, new samples at 1/4 and 3/4 between old ones.
    Triangle,
}

/// The rows of a component at the size of the image.
struct Rows<'a> {
    plane: &'a [u8],
    stride: usize,
    width: usize,
    height: usize,
    across: Enlarge,
    down: Enlarge,
    /// A row of weighted sums of two rows, and the row that was made last.
    sums: Vec<i32>,
    out: Vec<u8>,
}

impl<'a> Rows<'a> {
    fn new(frame: &Frame, component: &Component, plane: &'a [u8]) -> Result<Self, &'static str> {
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
        Ok(Self {
            plane,
            stride: component.blocks[0] * 8,
            width: component.width,
            height: component.height,
            across,
            down,
            sums: Vec::new(),
            out: Vec::new(),
        })
    }

    fn source(&self, y: usize) -> &'a [u8] {
        let y = y.min(self.height - 1);
        &self.plane[y * self.stride..][..self.width]
    }

    /// Row `y` of the image; it may be longer than the image is wide.
    fn row(&mut self, y: usize) -> &[u8] {
        let near = match self.down {
            Enlarge::Repeat(times) => self.source(y / times),
            Enlarge::Triangle => self.source(y / 2),
        };
        if self.down == Enlarge::Triangle {
            let far = if y.is_multiple_of(2) {
                (y / 2).saturating_sub(1)
            } else {
                y / 2 + 1
            };
            let far = self.source(far);
            blend(near, far, &mut self.sums);
        }
        match (self.across, self.down) {
            (Enlarge::Repeat(1), Enlarge::Repeat(_)) => return near,
            (Enlarge::Repeat(times), Enlarge::Repeat(_)) => {
                self.out.clear();
                self.out
                    .extend(near.iter().flat_map(|&s| std::iter::repeat_n(s, times)));
            }
            (Enlarge::Repeat(_), Enlarge::Triangle) => {
                let bias = 1 + (y % 2) as i32;
                self.out.clear();
                self.out
                    .extend(self.sums.iter().map(|&sum| ((sum + bias) >> 2) as u8));
            }
            (Enlarge::Triangle, Enlarge::Repeat(_)) => {
                self.sums.clear();
                self.sums.extend(near.iter().map(|&s| i32::from(s)));
                triangle(&self.sums, [1, 2], 2, &mut self.out);
            }
            (Enlarge::Triangle, Enlarge::Triangle) => {
                triangle(&self.sums, [8, 7], 4, &mut self.out);
            }
        }
        &self.out
    }
}

wide! {
    /// Doubles a row of at least 2 values: `(3 * near + far + bias) >> shift`, with a bias for left
    /// and one for right samples; the outermost ones have no neighbour and weigh 4.
    fn triangle(row: &[i32], bias: [i32; 2], shift: u32, out: &mut Vec<u8>) {
        out.clear();
        out.resize(2 * row.len(), 0);
        let pairs = out.as_chunks_mut::<2>().0;
        let last = row.len() - 1;
        let ends = [(0, 0, 1), (last, last - 1, last)];
        for (pair, near) in pairs[1..last].iter_mut().zip(row.array_windows::<3>()) {
            let &[left, near, right] = near;
            *pair = [
                ((3 * near + left + bias[0]) >> shift) as u8,
                ((3 * near + right + bias[1]) >> shift) as u8,
            ];
        }
        for (at, left, right) in ends {
            pairs[at] = [
                ((3 * row[at] + row[left] + bias[0]) >> shift) as u8,
                ((3 * row[at] + row[right] + bias[1]) >> shift) as u8,
            ];
        }
    }

    /// Weighted sums of two rows, 3 : 1.
    fn blend(near: &[u8], far: &[u8], sums: &mut Vec<i32>) {
        sums.clear();
        let weighted = |(&near, &far): (&u8, &u8)| 3 * i32::from(near) + i32::from(far);
        sums.extend(near.iter().zip(far).map(weighted));
    }

    /// Converts a row from YCbCr to RGB. The contributions of chroma have 16 fractional bits; those
    /// to red and blue are rounded alone, those to green together.
    fn convert_row(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [[u8; 3]]) {
        const HALF: i32 = 1 << 15;
        let (y, cb, cr) = (&y[..out.len()], &cb[..out.len()], &cr[..out.len()]);
        for (((out, &y), &cb), &cr) in out.iter_mut().zip(y).zip(cb).zip(cr) {
            let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
            let red = (fixed(1.402) * cr + HALF) >> 16;
            let green = (-fixed(0.344_14) * cb - fixed(0.714_14) * cr + HALF) >> 16;
            let blue = (fixed(1.772) * cb + HALF) >> 16;
            *out = [y + red, y + green, y + blue].map(|value| value.clamp(0, 255) as u8);
        }
    }
}

const fn fixed(x: f64) -> i32 {
    (x * 65_536.0 + 0.5) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_triangle_lies_between_its_neighbours() {
        let mut out = Vec::new();
        triangle(&[0, 100, 200], [1, 2], 2, &mut out);
        assert_eq!(out, [0, 25, 75, 125, 175, 200]);
    }

    #[test]
    fn grey_stays_grey_and_primaries_are_known() {
        let rgb = |y, cb, cr| {
            let mut out = [[0; 3]];
            convert_row(&[y], &[cb], &[cr], &mut out);
            out[0]
        };
        for y in [0, 77, 255] {
            assert_eq!(rgb(y, 128, 128), [y; 3]);
        }
        assert_eq!(rgb(76, 85, 255), [254, 0, 0]);
        assert_eq!(rgb(29, 255, 107), [0, 0, 254]);
    }
}
