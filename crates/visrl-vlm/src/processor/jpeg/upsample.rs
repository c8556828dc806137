//! From planes of their own sizes to interleaved samples: chroma is enlarged with the triangle
//! filters of libjpeg, and YCbCr becomes RGB in 16-bit fixed point.

use super::header::{Component, Frame};

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
            let convert = Convert::new();
            for (y, out) in out.chunks_exact_mut(width * 3).enumerate() {
                let samples = a.row(y).iter().zip(b.row(y)).zip(c.row(y));
                for (out, ((&a, &b), &c)) in out.as_chunks_mut::<3>().0.iter_mut().zip(samples) {
                    *out = if is_rgb {
                        [a, b, c]
                    } else {
                        convert.rgb(a, b, c)
                    };
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
            self.sums.clear();
            let weighted = |(&near, &far): (&u8, &u8)| 3 * i32::from(near) + i32::from(far);
            self.sums.extend(near.iter().zip(far).map(weighted));
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

/// Doubles a row of at least 2 values: `(3 * near + far + bias) >> shift`, with a bias for left and
/// one for right samples; the outermost ones have no neighbour and weigh 4.
fn triangle(row: &[i32], bias: [i32; 2], shift: u32, out: &mut Vec<u8>) {
    out.clear();
    let last = row.len() - 1;
    for (i, &near) in row.iter().enumerate() {
        let left = row[i.saturating_sub(1)];
        let right = row[(i + 1).min(last)];
        out.push(((3 * near + left + bias[0]) >> shift) as u8);
        out.push(((3 * near + right + bias[1]) >> shift) as u8);
    }
}

/// The contributions of chroma to red, green and blue.
struct Convert {
    red: [i32; 256],
    /// With 16 fractional bits, from Cb (rounding included) and Cr.
    green: [[i32; 256]; 2],
    blue: [i32; 256],
}

impl Convert {
    fn new() -> Self {
        let fixed = |x: f64| (x * 65_536.0 + 0.5) as i32;
        let table = |f: &dyn Fn(i32) -> i32| std::array::from_fn(|i| f(i as i32 - 128));
        const HALF: i32 = 1 << 15;
        Self {
            red: table(&|cr| (fixed(1.402) * cr + HALF) >> 16),
            green: [
                table(&|cb| -fixed(0.344_14) * cb + HALF),
                table(&|cr| -fixed(0.714_14) * cr),
            ],
            blue: table(&|cb| (fixed(1.772) * cb + HALF) >> 16),
        }
    }

    fn rgb(&self, y: u8, cb: u8, cr: u8) -> [u8; 3] {
        let (y, cb, cr) = (i32::from(y), usize::from(cb), usize::from(cr));
        let green = (self.green[0][cb] + self.green[1][cr]) >> 16;
        [y + self.red[cr], y + green, y + self.blue[cb]].map(|value| value.clamp(0, 255) as u8)
    }
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
        let convert = Convert::new();
        for y in [0, 77, 255] {
            assert_eq!(convert.rgb(y, 128, 128), [y; 3]);
        }
        assert_eq!(convert.rgb(76, 85, 255), [254, 0, 0]);
        assert_eq!(convert.rgb(29, 255, 107), [0, 0, 254]);
    }
}
