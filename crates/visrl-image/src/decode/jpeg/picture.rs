//! From blocks to the image, one row of MCUs after the other.

use super::colour;
use super::header::Frame;
use super::upsample::Plane;

/// An image that grows from the top.
pub(super) struct Picture {
    planes: Vec<Plane>,
    is_rgb: bool,
    width: usize,
    height: usize,
    /// Rows of the image in a row of MCUs.
    step: usize,
    /// Rows of MCUs that came, and rows of the image that are done.
    added: usize,
    done: usize,
    /// Interleaved samples.
    out: Vec<u8>,
}

impl Picture {
    /// An image of no row yet; all components must have their quantization tables.
    pub(super) fn new(frame: &Frame, is_rgb: bool) -> Result<Self, &'static str> {
        let planes: Result<Vec<Plane>, _> = frame
            .components
            .iter()
            .map(|component| Plane::new(frame, component))
            .collect();
        let planes = planes?;
        if !matches!(planes.len(), 1 | 3) {
            return Err("has an unexpected number of components");
        }
        Ok(Self {
            is_rgb,
            width: frame.width,
            height: frame.height,
            step: 8 * frame.sampling[1],
            added: 0,
            done: 0,
            out: Vec::with_capacity(frame.width * frame.height * planes.len()),
            planes,
        })
    }

    /// Adds the next row of MCUs, which is row `row` of the frame's blocks.
    pub(super) fn add_row(&mut self, frame: &Frame, row: usize) {
        for (plane, component) in self.planes.iter_mut().zip(&frame.components) {
            let [across, down] = [component.blocks[0], component.sampling[1]];
            let blocks = &component.coefficients[row * down * across..][..down * across];
            plane.add_blocks(self.added, blocks);
        }
        self.added += 1;
        // The last row of the image that is covered may need samples of the next row of MCUs.
        let covered = self.added * self.step;
        let end = if covered < self.height {
            covered - 1
        } else {
            self.height
        };
        for y in self.done..end {
            self.finish_row(y);
        }
        self.done = end;
    }

    fn finish_row(&mut self, y: usize) {
        let start = self.out.len();
        self.out.resize(start + self.width * self.planes.len(), 0);
        let out = &mut self.out[start..];
        match self.planes.as_mut_slice() {
            [grey] => out.copy_from_slice(&grey.row(y)[..self.width]),
            [a, b, c] => {
                let out = out.as_chunks_mut::<3>().0;
                let [a, b, c] = [a, b, c].map(|plane| &plane.row(y)[..self.width]);
                if self.is_rgb {
                    colour::join_row(a, b, c, out);
                } else {
                    colour::convert_row(a, b, c, out);
                }
            }
            _ => {}
        }
    }

    /// The interleaved samples of the rows that are done.
    pub(super) fn into_samples(self) -> Vec<u8> {
        self.out
    }
}
