//! From the bytes of a file to numbers in memory: in parallel, and turned on the way where that is
//! asked for.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

/// Values that a thread converts at a time.
const PIECE: usize = 1 << 16;
/// Rows of a tile: 16 values of 32 bits fill a cache line of the turned matrix.
const TILE_ROWS: usize = 16;
/// Columns of a tile.
const TILE_COLUMNS: usize = 64;

/// Makes numbers of little-endian bytes; both slices are for as many values.
pub(super) type Convert<T> = fn(&[u8], &mut [T]);

/// A number format that values of a file can become.
pub(super) trait Target: Copy + Default + Send + Sync {
    /// Whether all of these are finite.
    fn are_finite(values: &[Self]) -> bool;

    /// How values of a file's format become this one; `None` for formats that are no floats of 16
    /// or 32 bits.
    fn converter(stored: Dtype) -> Option<Convert<Self>>;
}

impl Target for f32 {
    fn are_finite(values: &[Self]) -> bool {
        // The largest exponent, and no other, carries into the place of the sign.
        let carry = |x: &Self| (x.to_bits() & 0x7f80_0000) + 0x0080_0000;
        values.iter().fold(0, |all, x| all | carry(x)) >> 31 == 0
    }

    fn converter(stored: Dtype) -> Option<Convert<Self>> {
        Some(match stored {
            Dtype::F32 => |bytes, out| {
                each(bytes, out, f32::from_le_bytes);
            },
            Dtype::BF16 => |bytes, out| {
                each(bytes, out, |b| {
                    f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)
                });
            },
            Dtype::F16 => |bytes, out| {
                let mut halves = [f16::ZERO; 256];
                let pieces = bytes.chunks(2 * halves.len());
                for (bytes, out) in pieces.zip(out.chunks_mut(halves.len())) {
                    let halves = &mut halves[..out.len()];
                    each(bytes, halves, f16::from_le_bytes);
                    halves.convert_to_f32_slice(out);
                }
            },
            _ => return None,
        })
    }
}

impl Target for f64 {
    fn are_finite(values: &[Self]) -> bool {
        // The largest exponent, and no other, carries into the place of the sign.
        let carry = |x: &Self| (x.to_bits() & 0x7ff0_0000_0000_0000) + 0x0010_0000_0000_0000;
        values.iter().fold(0, |all, x| all | carry(x)) >> 63 == 0
    }

    fn converter(stored: Dtype) -> Option<Convert<Self>> {
        Some(match stored {
            Dtype::F32 => |bytes, out| {
                each(bytes, out, |b| Self::from(f32::from_le_bytes(b)));
            },
            Dtype::BF16 => |bytes, out| {
                each(bytes, out, |b| Self::from(bf16::from_le_bytes(b)));
            },
            Dtype::F16 => |bytes, out| {
                each(bytes, out, |b| Self::from(f16::from_le_bytes(b)));
            },
            _ => return None,
        })
    }
}

impl Target for bf16 {
    fn are_finite(values: &[Self]) -> bool {
        // The largest exponent, and no other, carries into the place of the sign.
        let carry = |x: &Self| (x.to_bits() & 0x7f80) + 0x0080;
        values.iter().fold(0, |all, x| all | carry(x)) >> 15 == 0
    }

    fn converter(stored: Dtype) -> Option<Convert<Self>> {
        Some(match stored {
            Dtype::F32 => |bytes, out| {
                each(bytes, out, |b| Self::from_f32(f32::from_le_bytes(b)));
            },
            Dtype::BF16 => |bytes, out| {
                each(bytes, out, Self::from_le_bytes);
            },
            Dtype::F16 => |bytes, out| {
                each(bytes, out, |b| {
                    Self::from_f32(f16::from_le_bytes(b).to_f32())
                });
            },
            _ => return None,
        })
    }
}

fn each<const N: usize, T>(bytes: &[u8], out: &mut [T], convert: impl Fn([u8; N]) -> T) {
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *out = convert(*bytes);
    }
}

/// Converts all values on all cores; `size` is the number of bytes of a stored value. Gives whether
/// all are finite, which is looked at while they are at hand.
pub(super) fn plain<T: Target>(
    bytes: &[u8],
    size: usize,
    out: &mut [T],
    convert: Convert<T>,
) -> bool {
    let pieces = out
        .par_chunks_mut(PIECE)
        .zip(bytes.par_chunks(PIECE * size));
    let finite = pieces.map(|(out, bytes)| {
        convert(bytes, out);
        T::are_finite(out)
    });
    finite.reduce(|| true, |a, b| a & b)
}

/// Rows `first` and following of a stored matrix of `rows` x `columns` values of `size` bytes.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) size: usize,
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// Converts rows and puts them as columns into `out`, `[columns, rows]`.
///
/// Threads own rows of `out`; each works in tiles, so that whole cache lines are read and written.
/// Gives whether all values are finite.
pub(super) fn turned<T: Target>(part: Rows<'_>, out: &mut [T], convert: Convert<T>) -> bool {
    let Rows {
        bytes,
        size,
        first,
        rows,
        columns,
    } = part;
    if rows == 0 || columns == 0 {
        return true;
    }
    let blocks = out.par_chunks_mut(TILE_COLUMNS * rows).enumerate();
    blocks
        .map(|(block, out)| {
            let mut finite = true;
            let left = block * TILE_COLUMNS;
            let width = TILE_COLUMNS.min(columns - left);
            let mut tile = [[T::default(); TILE_COLUMNS]; TILE_ROWS];
            for (group, lines) in bytes.chunks(TILE_ROWS * columns * size).enumerate() {
                let top = first + group * TILE_ROWS;
                let lines = lines.chunks_exact(columns * size);
                let height = lines.len();
                for (line, values) in lines.zip(&mut tile) {
                    convert(&line[left * size..][..width * size], &mut values[..width]);
                    finite &= T::are_finite(&values[..width]);
                }
                for (column, out) in out.chunks_exact_mut(rows).enumerate() {
                    for (out, values) in out[top..top + height].iter_mut().zip(&tile) {
                        *out = values[column];
                    }
                }
            }
            finite
        })
        .reduce(|| true, |a, b| a & b)
}

/// How many rows of a matrix are read between two releases of what was read.
pub(super) fn rows_per_section(row_bytes: usize, section: usize) -> usize {
    (section / row_bytes.max(1))
        .next_multiple_of(TILE_ROWS)
        .max(TILE_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(values: &[f32], dtype: Dtype) -> Vec<u8> {
        match dtype {
            Dtype::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Dtype::BF16 => {
                let halves = values.iter().map(|&x| bf16::from_f32(x));
                halves.flat_map(bf16::to_le_bytes).collect()
            }
            _ => {
                let halves = values.iter().map(|&x| f16::from_f32(x));
                halves.flat_map(f16::to_le_bytes).collect()
            }
        }
    }

    #[test]
    fn every_format_gives_its_values() {
        // Small whole numbers are exact in all formats; more of them than a thread's piece.
        let values: Vec<f32> = (0..PIECE + 77).map(|i| (i % 251) as f32 - 99.0).collect();
        for (dtype, size) in [(Dtype::F32, 4), (Dtype::BF16, 2), (Dtype::F16, 2)] {
            let bytes = stored(&values, dtype);
            let mut out = vec![0f32; values.len()];
            plain(&bytes, size, &mut out, f32::converter(dtype).unwrap());
            assert_eq!(out, values, "{dtype:?}");
            let mut doubles = vec![0f64; values.len()];
            plain(&bytes, size, &mut doubles, f64::converter(dtype).unwrap());
            assert!(
                doubles
                    .iter()
                    .zip(&values)
                    .all(|(a, &b)| *a == f64::from(b)),
                "{dtype:?}"
            );
            let mut halves = vec![bf16::ZERO; values.len()];
            plain(&bytes, size, &mut halves, bf16::converter(dtype).unwrap());
            assert!(
                halves.iter().zip(&values).all(|(a, &b)| a.to_f32() == b),
                "{dtype:?}"
            );
        }
        assert!(f32::converter(Dtype::I32).is_none() && bf16::converter(Dtype::F64).is_none());
    }

    #[test]
    fn special_values_survive() {
        let values = [f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e-40, f32::NAN];
        let mut out = [0f32; 5];
        for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
            f32::converter(dtype).unwrap()(&stored(&values, dtype), &mut out);
            assert_eq!(out[..2], values[..2]);
            assert!(out[2] == 0.0 && out[2].is_sign_negative() && out[4].is_nan());
        }
    }

    #[test]
    fn values_that_are_not_finite_are_seen_at_any_place() {
        let (rows, columns) = (37, 130);
        let bytes = |at: usize, value: f32| {
            let mut values = vec![1f32; rows * columns];
            values[at] = value;
            stored(&values, Dtype::BF16)
        };
        for (value, good) in [(2.0, true), (f32::NAN, false), (f32::NEG_INFINITY, false)] {
            for at in [0, 70, rows * columns / 2, rows * columns - 1] {
                let bytes = bytes(at, value);
                let mut out = vec![0f32; rows * columns];
                let convert = f32::converter(Dtype::BF16).unwrap();
                assert_eq!(plain(&bytes, 2, &mut out, convert), good, "{value} at {at}");
                let part = Rows {
                    bytes: &bytes,
                    size: 2,
                    first: 0,
                    rows,
                    columns,
                };
                assert_eq!(turned(part, &mut out, convert), good, "{value} at {at}");
                let mut halves = vec![bf16::ZERO; rows * columns];
                let convert = bf16::converter(Dtype::BF16).unwrap();
                assert_eq!(
                    plain(&bytes, 2, &mut halves, convert),
                    good,
                    "{value} at {at}"
                );
            }
        }
    }

    #[test]
    fn rows_become_columns_in_any_sections() {
        for (rows, columns) in [(1, 1), (16, 64), (37, 130), (100, 3), (3, 200)] {
            let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let bytes = stored(&values, Dtype::F32);
            for section in [1, 16, 64] {
                let mut out = vec![-1f32; values.len()];
                for (index, bytes) in bytes.chunks(section * columns * 4).enumerate() {
                    let part = Rows {
                        bytes,
                        size: 4,
                        first: index * section,
                        rows,
                        columns,
                    };
                    turned(part, &mut out, f32::converter(Dtype::F32).unwrap());
                }
                let right = (0..out.len()).all(|i| out[i] == values[i % rows * columns + i / rows]);
                assert!(right, "{rows} x {columns} in sections of {section}");
            }
        }
    }

    #[test]
    fn sections_are_whole_tiles() {
        assert_eq!(rows_per_section(100, 10), 16);
        assert_eq!(rows_per_section(100, 10_000), 112);
        assert_eq!(rows_per_section(0, 0), 16);
    }
}
