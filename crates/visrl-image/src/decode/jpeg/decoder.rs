//! JPEG decoding with the arithmetic of libjpeg, which Pillow uses.
//!
//! Decoders may differ in how they invert the cosine transform, enlarge the chroma planes and
//! convert colours, and common ones do, by some levels. Here all three are libjpeg's defaults (the
//! accurate integer transform, triangle-filtered chroma, 16-bit fixed-point colour), so that a
//! decoded image equals Pillow's in every byte. Damage in the compressed data is an error; nothing
//! is filled in.

use super::header::{self, Frame, Tables};
use super::picture::Picture;
use super::scan::Scan;

/// A decoded image: width, height, and interleaved grey (1) or RGB (3) samples.
pub(super) struct Decoded {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) channels: usize,
    pub(super) data: Vec<u8>,
}

/// Why an image was not decoded.
#[derive(Debug)]
pub(super) enum Failure<E> {
    /// The file is of a kind that is not handled here: arithmetic coding, 12 bits, or two or four
    /// components (CMYK, YCCK). One of the latter has been read to its end and is whole.
    Unsupported,
    /// The file is damaged.
    Damaged(&'static str),
    /// The caller does not want an image of this size.
    Refused(E),
}

impl<E> From<&'static str> for Failure<E> {
    fn from(message: &'static str) -> Self {
        Self::Damaged(message)
    }
}

/// Scans of one image: real files have about ten.
const MAX_SCANS: usize = 500;

/// Decodes a JPEG file; `accept` is asked about width and height before memory is taken.
pub(super) fn decode<E>(
    bytes: &[u8],
    accept: impl FnOnce(usize, usize) -> Result<(), E>,
) -> Result<Decoded, Failure<E>> {
    let mut tables = Tables::default();
    let mut accept = Some(accept);
    let mut frame: Option<Frame> = None;
    let mut picture = None;
    let mut is_done = false;
    let mut scans = 0;
    let mut rest = bytes
        .strip_prefix(&[0xff, 0xd8])
        .ok_or("has no JPEG start marker")?;
    loop {
        let (marker, tail) = header::next_marker(rest)?;
        if marker == 0xd9 {
            break;
        }
        let (segment, tail) = header::segment(tail)?;
        rest = tail;
        match marker {
            0xc4 => tables.read_huffman(segment)?,
            0xdb => tables.read_quantization(segment)?,
            0xdd => tables.read_restart_interval(segment)?,
            0xe0 => tables.read_jfif(segment),
            0xee => tables.read_adobe(segment),
            0xc0..=0xc2 => {
                if frame.is_some() {
                    return Err("has two frames".into());
                }
                let read = Frame::read(segment, marker == 0xc2)?.ok_or(Failure::Unsupported)?;
                if let Some(accept) = accept.take() {
                    accept(read.width, read.height).map_err(Failure::Refused)?;
                }
                frame = Some(read);
            }
            // Other frames: lossless, hierarchical, arithmetic; and the conditioning of the last.
            0xc3 | 0xc5..=0xcf => return Err(Failure::Unsupported),
            0xda => {
                let frame = frame.as_mut().ok_or("has a scan before its frame")?;
                scans += 1;
                if scans > MAX_SCANS {
                    return Err("has more than 500 scans".into());
                }
                if is_done {
                    return Err("has a scan after one of the whole image".into());
                }
                let mut scan = Scan::new(segment, rest, frame, &tables)?;
                if scans > 1 {
                    scan.read_all(frame)?;
                } else if scan.is_whole(frame) {
                    // The image is made row by row, without memory for all coefficients.
                    picture = read_whole(&mut scan, frame, &tables)?;
                    is_done = true;
                } else {
                    frame.allocate(frame.mcus[1]);
                    scan.read_all(frame)?;
                }
                rest = scan.into_rest();
            }
            _ => {}
        }
    }
    let frame = frame.ok_or("has no frame")?;
    if frame
        .components
        .iter()
        .any(|component| component.quantization.is_none())
    {
        return Err("has a component without a scan".into());
    }
    if !makes_picture(&frame) {
        return Err(Failure::Unsupported);
    }
    let picture = match picture {
        Some(picture) => picture,
        None => {
            let mut picture = Picture::new(&frame, tables.is_rgb(&frame))?;
            for row in 0..frame.mcus[1] {
                picture.add_row(&frame, row);
            }
            picture
        }
    };
    Ok(Decoded {
        width: frame.width,
        height: frame.height,
        channels: frame.components.len(),
        data: picture.into_samples(),
    })
}

/// Whether the components are grey or three colours. Others are read for damage alone.
fn makes_picture(frame: &Frame) -> bool {
    matches!(frame.components.len(), 1 | 3)
}

/// Reads a scan that holds all of the image, and makes the image if its kind is handled.
fn read_whole(
    scan: &mut Scan<'_, '_>,
    frame: &mut Frame,
    tables: &Tables,
) -> Result<Option<Picture>, &'static str> {
    let mut picture = match makes_picture(frame) {
        true => Some(Picture::new(frame, tables.is_rgb(frame))?),
        false => None,
    };
    frame.allocate(1);
    for _ in 0..scan.rows() {
        frame.clear();
        scan.read_row(frame, 0)?;
        if let Some(picture) = &mut picture {
            picture.add_row(frame, 0);
        }
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use image::ExtendedColorType;
    use image::codecs::jpeg::JpegEncoder;

    use super::super::colour;
    use super::*;

    fn encode(width: u32, height: u32, color: ExtendedColorType, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 100)
            .encode(data, width, height, color)
            .unwrap();
        bytes
    }

    #[test]
    fn what_was_encoded_comes_back_nearly() {
        let smooth = |x: u32, y: u32, c: u32| ((x * 3 + y * 5 + c * 40) % 256 / 2 + 60) as u8;
        let (width, height) = (37, 21);
        for (color, channels) in [(ExtendedColorType::L8, 1), (ExtendedColorType::Rgb8, 3)] {
            let mut data = Vec::new();
            for y in 0..height {
                for x in 0..width {
                    data.extend((0..channels).map(|c| smooth(x, y, c) & 0xf0));
                }
            }
            let bytes = encode(width, height, color, &data);
            let decoded = decode::<()>(&bytes, |_, _| Ok(())).ok().unwrap();
            assert_eq!((decoded.width, decoded.height), (37, 21));
            assert_eq!(decoded.channels, channels as usize);
            let off: u32 = decoded
                .data
                .iter()
                .zip(&data)
                .map(|(a, b)| u32::from(a.abs_diff(*b)))
                .sum();
            assert!(off < 2 * data.len() as u32, "{channels}: {off}");
        }
    }

    #[test]
    fn size_is_asked_for_and_cuts_are_errors() {
        let bytes = encode(16, 8, ExtendedColorType::L8, &[9; 128]);
        let refused = decode(&bytes, |width, height| Err((width, height)));
        assert!(matches!(refused, Err(Failure::Refused((16, 8)))));
        for len in 0..bytes.len() - 1 {
            let cut = decode::<()>(&bytes[..len], |_, _| Ok(()));
            assert!(matches!(cut, Err(Failure::Damaged(_))), "{len}");
        }
    }

    /// The segments of a file with their markers, and what follows the last, a scan's header.
    fn segments(file: &[u8]) -> (Vec<(u8, &[u8])>, &[u8]) {
        let (mut found, mut rest) = (Vec::new(), &file[2..]);
        loop {
            let (marker, tail) = header::next_marker(rest).unwrap();
            let (segment, tail) = header::segment(tail).unwrap();
            found.push((marker, segment));
            rest = tail;
            if marker == 0xda {
                return (found, rest);
            }
        }
    }

    #[test]
    fn components_in_scans_of_their_own_give_the_same_image() {
        // Three grey files as the scans of one in colour.
        let (width, height) = (45, 30);
        let plane = |seed: u32| -> Vec<u8> {
            let sample = |i: u32| (i % width * 5 + i / width * seed) as u8;
            (0..width * height).map(sample).collect()
        };
        let planes = [plane(3), plane(2), plane(7)];
        let files = planes.map(|plane| encode(width, height, ExtendedColorType::L8, &plane));
        let mut joined = vec![0xff, 0xd8];
        let mut add = |marker: u8, content: &[u8], tail: &[u8]| {
            joined.extend([0xff, marker]);
            joined.extend((content.len() as u16 + 2).to_be_bytes());
            joined.extend(content);
            joined.extend(tail);
        };
        for (id, file) in (1..).zip(&files) {
            let (segments, data) = segments(file);
            for (marker, segment) in segments {
                match marker {
                    0xc0 if id == 1 => {
                        let size = [&segment[..5], &[3]].concat();
                        let components = [[1, 0x11, 0], [2, 0x11, 0], [3, 0x11, 0]];
                        add(0xc0, &[&size, components.as_flattened()].concat(), &[]);
                    }
                    0xc0 => {}
                    0xda => add(0xda, &[1, id, 0, 0, 63, 0], &data[..data.len() - 2]),
                    _ => add(marker, segment, &[]),
                }
            }
        }
        joined.extend([0xff, 0xd9]);
        let [y, cb, cr] = files.map(|file| decode::<()>(&file, |_, _| Ok(())).ok().unwrap().data);
        let mut expected = vec![[0; 3]; y.len()];
        colour::convert_plainly(&y, &cb, &cr, &mut expected);
        let found = decode::<()>(&joined, |_, _| Ok(())).ok().unwrap();
        assert_eq!(found.channels, 3);
        assert!(found.data == expected.as_flattened());
    }

    #[test]
    fn a_second_scan_of_the_whole_image_is_refused() {
        let mut bytes = encode(16, 8, ExtendedColorType::L8, &[9; 128]);
        let start = bytes.array_windows().position(|pair| *pair == [0xff, 0xda]);
        let end = bytes.len() - 2;
        let scan = bytes[start.unwrap()..end].to_vec();
        bytes.splice(end..end, scan);
        let decoded = decode::<()>(&bytes, |_, _| Ok(()));
        assert!(matches!(decoded, Err(Failure::Damaged(_))));
    }
}
