//! Seeded damage to bytes and to JSON.

use serde_json::{Map, Value, json};
use visrl_core::{Domain, SeedStream, ShuffleRng};

/// The draws of a case.
pub struct Rng(ShuffleRng);

impl Rng {
    /// The draws of case `case` of a seed.
    pub fn new(seed: u64, case: u64) -> Self {
        Self(
            SeedStream::new(seed, Domain::Other(0xf0))
                .derive(case)
                .rng(),
        )
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.below(n.max(1))
    }

    /// One of `items`.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    /// Whether something of probability `1 / n` happens.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Cuts, flips, overwrites, removes, doubles or moves bytes.
pub fn bytes(rng: &mut Rng, data: &mut Vec<u8>) {
    for _ in 0..1 + rng.below(3) {
        let len = data.len();
        if len == 0 {
            data.push(rng.byte());
            continue;
        }
        let at = rng.below(len);
        let end = (at + 1 + rng.below(16)).min(len);
        match rng.below(8) {
            0 => data.truncate(at),
            1 | 2 => data[at] ^= 1 << rng.below(8),
            3 => data[at] = rng.byte(),
            4 => data[at..end].fill(*rng.pick(&[0, 0xff, b'9', b'"', b'{'])),
            5 => drop(data.drain(at..end)),
            6 => {
                let part = data[at..end].to_vec();
                let to = rng.below(len);
                data.splice(to..to, part);
            }
            _ => data.insert(at, rng.byte()),
        }
    }
}

/// A value that a field may hold by mistake.
fn wrong_value(rng: &mut Rng) -> Value {
    match rng.below(16) {
        0 => Value::Null,
        1 => json!(rng.one_in(2)),
        2 => json!(0),
        3 => json!(-1),
        4 => json!(1),
        5 => json!(rng.below(1 << 20)),
        6 => json!(u64::MAX),
        7 => json!(i64::MIN),
        8 => json!(1e308),
        9 => json!(-0.5),
        10 => json!((1u64 << rng.below(63)) + 1),
        11 => json!(""),
        12 => json!("\u{0}\u{ffff}x".repeat(rng.below(40))),
        13 => json!([]),
        14 => json!({ "": {} }),
        _ => (0..rng.below(200)).fold(json!(7), |inner, n| {
            if n % 2 == 0 {
                json!([inner])
            } else {
                json!({ "a": inner })
            }
        }),
    }
}

/// Every value in a document, by its path.
fn paths(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                paths(value, &format!("{at}/{}", escape(key)), out);
            }
        }
        Value::Array(items) => {
            // Of a long list a few stand for all.
            for (index, item) in items.iter().enumerate().take(6) {
                paths(item, &format!("{at}/{index}"), out);
            }
        }
        _ => {}
    }
}

fn place<'a>(root: &'a mut Value, path: &str) -> &'a mut Value {
    root.pointer_mut(path).unwrap()
}

/// Removes, retypes, scales, swaps or copies values of a document.
pub fn json(rng: &mut Rng, root: &mut Value) {
    for _ in 0..1 + rng.below(2) {
        let mut all = Vec::new();
        paths(root, "", &mut all);
        let path = rng.pick(&all).clone();
        let other = rng.pick(&all).clone();
        match rng.below(8) {
            0 | 1 => {
                if let Some((parent, key)) = path.rsplit_once('/') {
                    match place(root, parent) {
                        Value::Object(fields) => {
                            fields.shift_remove(&key.replace("~1", "/").replace("~0", "~"));
                        }
                        Value::Array(items) => drop(items.remove(key.parse().unwrap())),
                        _ => {}
                    }
                }
            }
            2 | 3 => *place(root, &path) = wrong_value(rng),
            4 => {
                let value = place(root, &path);
                if let Some(number) = value.as_f64() {
                    let factor = *rng.pick(&[-1.0, 0.5, 2.0, 1e3, 1e6, 1e18]);
                    let scaled = number * factor;
                    *value = if scaled.fract() == 0.0 && scaled.abs() < 9e18 {
                        json!(scaled as i64)
                    } else {
                        json!(scaled)
                    };
                } else {
                    *value = wrong_value(rng);
                }
            }
            5 => {
                let copy = place(root, &other).clone();
                *place(root, &path) = copy;
            }
            6 => {
                let copies = [path, other].map(|path| (place(root, &path).clone(), path));
                let [(a, a_path), (b, b_path)] = copies;
                *place(root, &a_path) = b;
                if let Some(value) = root.pointer_mut(&b_path) {
                    *value = a;
                }
            }
            _ => {
                if let Value::Object(fields) = place(root, &path) {
                    let renamed: Map<String, Value> = std::mem::take(fields)
                        .into_iter()
                        .map(|(key, value)| {
                            let key = if rng.one_in(4) {
                                format!("{key}_")
                            } else {
                                key
                            };
                            (key, value)
                        })
                        .collect();
                    *fields = renamed;
                }
            }
        }
    }
}

/// A damaged text of a document: its values, its bytes or both.
pub fn json_text(rng: &mut Rng, root: &Value) -> Vec<u8> {
    let mut root = root.clone();
    let kind = rng.below(4);
    if kind != 0 {
        json(rng, &mut root);
    }
    let mut text = root.to_string().into_bytes();
    if kind < 2 {
        bytes(rng, &mut text);
    }
    text
}
