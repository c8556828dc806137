//! A data set drawn by code.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_core::{Domain, ImageSource, SeedStream, ShuffleRng};
use visrl_data::{Error, MemoryDataset, Record, Split};

/// Shapes in grey, drawn anew for every seed: turned, moved, of different sizes, filled or as
/// outlines, on a lighter or a darker ground, under noise. A data set of another kind than
/// photographs, which needs no file.
///
/// ```
/// use visrl::DrawnShapes;
/// use visrl::data::{Dataset, Split, few_shot};
///
/// let shapes = DrawnShapes::default().draw()?;
/// assert_eq!(shapes.classes()[0], "circle");
/// let train = few_shot(&shapes, 4, 1)?;
/// assert_eq!(train.records(Split::Train)?.len(), 4 * shapes.classes().len());
/// # Ok::<(), visrl::data::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrawnShapes {
    /// The seed of all drawings.
    pub seed: u64,
    /// Side of an image in pixels.
    pub side: u32,
    /// Training images of each class.
    pub train: usize,
    /// Test images of each class.
    pub test: usize,
    /// The largest angle by which a shape is turned, in degrees to either side.
    pub turn: f64,
    /// Standard deviation of the noise, in grey values from 0 to 255.
    pub noise: f64,
}

/// The most images of a class and split.
const MOST_IMAGES: usize = 100_000;

impl Default for DrawnShapes {
    fn default() -> Self {
        Self {
            seed: 1,
            side: 48,
            train: 32,
            test: 50,
            turn: 20.0,
            noise: 24.0,
        }
    }
}

/// How deep a point lies in a shape; outside it is below 0.
type Inside = fn(f64, f64) -> f64;

/// The classes, each with the side of the shape that a point lies on: inside is above 0. Points
/// are in units of the shape's radius, y points down.
const SHAPES: [(&str, Inside); 8] = [
    ("circle", |x, y| 0.9 - x.hypot(y)),
    ("square", |x, y| 0.8 - x.abs().max(y.abs())),
    ("triangle", |x, y| {
        (0.75 - y).min(0.62 - x.abs() + 0.5 * (y - 0.1))
    }),
    ("cross", |x, y| {
        let bar = |along: f64, across: f64| (1.0 - along.abs()).min(0.28 - across.abs());
        bar(x, y).max(bar(y, x))
    }),
    ("ring", |x, y| 0.2 - (x.hypot(y) - 0.75).abs()),
    ("diamond", |x, y| 1.0 - x.abs() - y.abs()),
    ("star", |x, y| {
        0.62 + 0.36 * (5.0 * (y.atan2(x) + std::f64::consts::FRAC_PI_2)).cos() - x.hypot(y)
    }),
    ("crescent", |x, y| {
        (0.95 - x.hypot(y)).min((x - 0.45).hypot(y) - 0.75)
    }),
];

impl DrawnShapes {
    /// Checks the numbers; the field that is out of its range, and what is wrong with it.
    pub(crate) fn validate(&self) -> Result<(), (&'static str, String)> {
        let fault = |field, found: String, expected: &str| {
            Err((field, format!("is {found}, expected {expected}")))
        };
        if !(1..=1024).contains(&self.side) {
            return fault("side", self.side.to_string(), "1 to 1024");
        }
        for (field, count) in [("train", self.train), ("test", self.test)] {
            if !(1..=MOST_IMAGES).contains(&count) {
                return fault(field, count.to_string(), &format!("1 to {MOST_IMAGES}"));
            }
        }
        if !(0.0..=360.0).contains(&self.turn) {
            return fault("turn", self.turn.to_string(), "0 to 360 degrees");
        }
        if !(0.0..=255.0).contains(&self.noise) {
            return fault("noise", self.noise.to_string(), "0 to 255");
        }
        Ok(())
    }

    /// Draws training and test images. An image depends on the seed, its split, class and number
    /// alone.
    ///
    /// # Errors
    /// [`Error::Config`] for a number out of its range.
    pub fn draw(&self) -> Result<MemoryDataset, Error> {
        self.validate()
            .map_err(|(field, message)| Error::Config { field, message })?;
        let names = SHAPES.map(|(name, _)| name);
        let mut dataset = MemoryDataset::new(
            "drawn_shapes",
            names,
            "What type of object is in the photo?",
        );
        for (split, count) in [(Split::Train, self.train), (Split::Test, self.test)] {
            let mut records = Vec::with_capacity(count * SHAPES.len());
            for number in 0..count {
                for (label, (name, inside)) in SHAPES.iter().enumerate() {
                    let id = format!("{split}/{name}/{number}");
                    let place = [split as u64, label as u64, number as u64];
                    let image = self.image(*inside, place, &id);
                    records.push(Record::new(id, image, label));
                }
            }
            dataset = dataset.with_split(split, records)?;
        }
        Ok(dataset)
    }

    fn image(&self, depth: Inside, place: [u64; 3], id: &str) -> ImageSource {
        let stream = SeedStream::new(self.seed, Domain::Other(0x0073_6861));
        let rng = &mut place.into_iter().fold(stream, SeedStream::derive).rng();
        let between =
            |rng: &mut ShuffleRng, low: f64, high: f64| low + (high - low) * rng.uniform();
        let side = f64::from(self.side);
        let radius = side * between(rng, 0.24, 0.4);
        let centre = [0; 2].map(|_| side * between(rng, 0.42, 0.58));
        let (sin, cos) = (between(rng, -self.turn, self.turn)).to_radians().sin_cos();
        let dark = between(rng, 10.0, 80.0);
        let light = between(rng, 170.0, 240.0);
        let (ground, ink) = match rng.uniform() < 0.5 {
            true => (dark, light),
            false => (light, dark),
        };
        let outline = (rng.uniform() < 0.3).then_some(0.14);
        let inside = |x: f64, y: f64| {
            let (x, y) = ((x - centre[0]) / radius, (y - centre[1]) / radius);
            let depth = depth(cos * x + sin * y, cos * y - sin * x);
            depth > 0.0 && outline.is_none_or(|width| depth < width)
        };
        let pixels: Vec<u8> = (0..self.side * self.side)
            .map(|at| {
                let (x, y) = (f64::from(at % self.side), f64::from(at / self.side));
                // Four points of a pixel, for smooth edges.
                let points = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)];
                let covered = points.iter().filter(|(dx, dy)| inside(x + dx, y + dy));
                let share = covered.count() as f64 / 4.0;
                let grey = ground + share * (ink - ground) + self.noise * rng.normal();
                grey.round().clamp(0.0, 255.0) as u8
            })
            .collect();
        ImageSource::Gray {
            name: Arc::from(id),
            width: self.side,
            height: self.side,
            pixels: Arc::from(pixels),
        }
    }
}

#[cfg(test)]
mod tests {
    use visrl_data::Dataset;

    use super::*;

    #[test]
    fn a_seed_gives_one_data_set_and_another_seed_another() {
        let small = DrawnShapes {
            train: 2,
            test: 3,
            ..DrawnShapes::default()
        };
        let shapes = small.draw().unwrap();
        assert_eq!(shapes, small.draw().unwrap());
        assert_eq!(shapes.records(Split::Train).unwrap().len(), 16);
        assert_eq!(shapes.records(Split::Test).unwrap().len(), 24);
        let other = DrawnShapes { seed: 2, ..small };
        assert_ne!(shapes, other.draw().unwrap());
    }

    #[test]
    fn a_shape_fills_a_part_of_its_image_and_none_is_like_another() {
        let clean = DrawnShapes {
            noise: 0.0,
            turn: 0.0,
            train: 1,
            test: 1,
            ..DrawnShapes::default()
        };
        for record in clean.draw().unwrap().records(Split::Train).unwrap() {
            let ImageSource::Gray { pixels, .. } = &record.image else {
                panic!("{} is not grey", record.id);
            };
            let ground = pixels[0];
            let ink = pixels.iter().filter(|&&pixel| pixel != ground).count();
            let share = ink as f64 / pixels.len() as f64;
            assert!((0.03..0.6).contains(&share), "{}: {share}", record.id);
        }
        for (a, (_, first)) in SHAPES.iter().enumerate() {
            for (_, second) in &SHAPES[a + 1..] {
                let points = (0..400).map(|at| {
                    let on = |v: i32| f64::from(v) / 10.0 - 1.0;
                    (on(at % 20), on(at / 20))
                });
                let differ = points.filter(|&(x, y)| (first(x, y) > 0.0) != (second(x, y) > 0.0));
                assert!(differ.count() > 20);
            }
        }
    }

    #[test]
    fn a_side_that_cannot_be_is_named() {
        let none = DrawnShapes {
            side: 0,
            ..DrawnShapes::default()
        };
        assert!(none.draw().unwrap_err().to_string().contains("side"));
    }
}
