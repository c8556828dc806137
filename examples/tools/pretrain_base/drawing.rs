//! Small pictures drawn by code: shapes and textures in six colours.

use std::sync::Arc;

use visrl_core::{ImageSource, ShuffleRng};

pub const SHAPES: [&str; 7] = [
    "circle", "square", "triangle", "cross", "ring", "diamond", "star",
];
pub const TEXTURES: [&str; 6] = [
    "striped",
    "dotted",
    "checkered",
    "plain",
    "gradient",
    "noisy",
];
const COLOURS: [(&str, [f64; 3]); 6] = [
    ("red", [220.0, 40.0, 40.0]),
    ("green", [40.0, 180.0, 60.0]),
    ("blue", [50.0, 80.0, 220.0]),
    ("yellow", [230.0, 210.0, 40.0]),
    ("purple", [150.0, 60.0, 190.0]),
    ("white", [235.0, 235.0, 235.0]),
];
const SIDE: u32 = 28;

/// A drawn picture, its name and the names it is told from, and a sentence that describes it.
pub struct Drawing {
    pub image: ImageSource,
    pub name: &'static str,
    pub family: &'static [&'static str],
    pub description: String,
}

/// Draws one picture.
pub fn draw(rng: &mut ShuffleRng) -> Drawing {
    let (colour, rgb) = COLOURS[rng.below(COLOURS.len())];
    let shape = rng.uniform() < 0.55;
    let family: &'static [&'static str] = if shape { &SHAPES } else { &TEXTURES };
    let name = family[rng.below(family.len())];
    let (cx, cy) = (
        14.0 + 6.0 * (rng.uniform() - 0.5),
        14.0 + 6.0 * (rng.uniform() - 0.5),
    );
    let radius = 6.0 + 5.0 * rng.uniform();
    let period = 4.0 + (rng.uniform() * 4.0).floor();
    let upright = rng.uniform() < 0.5;
    let mut pixels = Vec::with_capacity((SIDE * SIDE * 3) as usize);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let (fx, fy) = (f64::from(x), f64::from(y));
            let light = if shape {
                f64::from(inside(name, (fx - cx) / radius, (fy - cy) / radius))
            } else {
                texture(name, fx, fy, period, upright, rng)
            };
            pixels.extend(rgb.map(|c| (c * light + 12.0 * rng.uniform()).clamp(0.0, 255.0) as u8));
        }
    }
    let description = match shape {
        true => format!("The photo shows a {colour} {name}."),
        false => format!("The photo shows a {colour} {name} texture."),
    };
    let image = ImageSource::Rgb {
        name: Arc::from("drawing"),
        width: SIDE,
        height: SIDE,
        pixels: Arc::from(pixels),
    };
    Drawing {
        image,
        name,
        family,
        description,
    }
}

/// Whether a point, in units of the radius, lies in a shape.
fn inside(name: &str, x: f64, y: f64) -> bool {
    let distance = x.hypot(y);
    match name {
        "circle" => distance < 1.0,
        "square" => x.abs() < 0.85 && y.abs() < 0.85,
        "triangle" => y > -0.9 && y < 0.8 && x.abs() < (y + 0.9) * 0.55,
        "cross" => (x.abs() < 0.3 && y.abs() < 1.0) || (y.abs() < 0.3 && x.abs() < 1.0),
        "ring" => distance < 1.0 && distance > 0.6,
        "diamond" => x.abs() + y.abs() < 1.0,
        _ => distance < 0.6 + 0.4 * (5.0 * y.atan2(x)).cos(),
    }
}

fn texture(name: &str, x: f64, y: f64, period: f64, upright: bool, rng: &mut ShuffleRng) -> f64 {
    let (along, across) = if upright { (x, y) } else { (y, x) };
    let cell = |v: f64| (v / period).floor() as i64;
    match name {
        "striped" => f64::from((cell(along) % 2 == 0) as u8),
        "dotted" => {
            let offset = |v: f64| (v % period) - period / 2.0;
            f64::from((offset(x).hypot(offset(y)) < period * 0.32) as u8)
        }
        "checkered" => f64::from(((cell(x) + cell(y)) % 2 == 0) as u8),
        "plain" => 0.9,
        "gradient" => 0.1 + 0.9 * across / f64::from(SIDE),
        _ => rng.uniform(),
    }
}
