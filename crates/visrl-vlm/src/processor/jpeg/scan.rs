//! Entropy-coded scans: sequential and progressive, to coefficients.

use super::bits::{Bits, Damaged, Huffman};
use super::header::{Component, Frame, Tables};

/// The place in a block of the coefficients in the order of their codes.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// The place in a block of coefficient `k`.
pub(super) fn natural(k: usize) -> usize {
    usize::from(ZIGZAG[k & 63])
}

/// What a scan holds of each block.
#[derive(Clone, Copy)]
struct Part {
    /// First and last coefficient.
    first: usize,
    last: usize,
    /// Bits that were sent before (0 in a coefficient's first scan), and that come later.
    high: u32,
    low: u32,
    progressive: bool,
}

/// A component in a scan.
struct Channel<'t> {
    component: usize,
    dc: Option<&'t Huffman>,
    ac: Option<&'t Huffman>,
    /// The DC value of the block before.
    predictor: i32,
}

const BAD: &str = "has a damaged scan header";
const DAMAGED: &str = "is damaged: its compressed data is cut or has an invalid code";

/// Decodes a scan into the frame's coefficients and gives the bytes that follow it.
pub(super) fn decode<'a>(
    header: &[u8],
    data: &'a [u8],
    frame: &mut Frame,
    tables: &Tables,
) -> Result<&'a [u8], &'static str> {
    let (mut channels, part) = read_header(header, frame, tables)?;
    for channel in &channels {
        frame.components[channel.component].latch(tables)?;
    }
    // A scan of one component has its blocks one by one, without those that fill up MCUs.
    let single = match channels.as_slice() {
        [channel] => Some(&frame.components[channel.component]),
        _ => None,
    };
    let mcus = match single {
        Some(component) => [component.width.div_ceil(8), component.height.div_ceil(8)],
        None => frame.mcus,
    };
    let single = single.is_some();

    let mut bits = Bits::new(data);
    let mut run = 0;
    for mcu in 0..mcus[0] * mcus[1] {
        if tables.restart_interval > 0 && mcu > 0 && mcu % tables.restart_interval == 0 {
            bits = restart(bits)?;
            run = 0;
            channels
                .iter_mut()
                .for_each(|channel| channel.predictor = 0);
        }
        let (row, column) = (mcu / mcus[0], mcu % mcus[0]);
        for channel in &mut channels {
            let component = &mut frame.components[channel.component];
            let [across, down] = if single { [1, 1] } else { component.sampling };
            for inner in 0..across * down {
                let x = column * across + inner % across;
                let y = row * down + inner / across;
                let block = &mut component.coefficients[y * component.blocks[0] + x];
                decode_block(&mut bits, channel, part, &mut run, block).map_err(|_| DAMAGED)?;
            }
        }
    }
    Ok(bits.into_rest())
}

fn read_header<'t>(
    header: &[u8],
    frame: &Frame,
    tables: &'t Tables,
) -> Result<(Vec<Channel<'t>>, Part), &'static str> {
    let (&count, rest) = header.split_first().ok_or(BAD)?;
    let (specs, tail) = rest.split_at_checked(2 * usize::from(count)).ok_or(BAD)?;
    let &[first, last, approximation] = tail.first_chunk().ok_or(BAD)?;
    let part = if frame.progressive {
        Part {
            first: usize::from(first),
            last: usize::from(last),
            high: u32::from(approximation >> 4),
            low: u32::from(approximation & 15),
            progressive: true,
        }
    } else {
        Part {
            first: 0,
            last: 63,
            high: 0,
            low: 0,
            progressive: false,
        }
    };
    let dc_alone = part.first == 0 && part.last == 0;
    let ac_alone = part.first > 0 && part.first <= part.last && part.last < 64 && count == 1;
    let refines_by_a_bit = part.high == 0 || part.high == part.low + 1;
    if frame.progressive && (!(dc_alone || ac_alone) || !refines_by_a_bit || part.low > 13) {
        return Err(BAD);
    }

    let mut channels: Vec<Channel<'_>> = Vec::new();
    for &[id, packed] in specs.as_chunks::<2>().0 {
        let same = |component: &Component| component.id == id;
        let component = frame.components.iter().position(same).ok_or(BAD)?;
        if channels
            .iter()
            .any(|channel| channel.component == component)
        {
            return Err(BAD);
        }
        let table = |tables: &'t [Option<Huffman>; 4], at: u8| {
            tables.get(usize::from(at)).and_then(Option::as_ref)
        };
        let channel = Channel {
            component,
            dc: table(&tables.dc, packed >> 4),
            ac: table(&tables.ac, packed & 15),
            predictor: 0,
        };
        let needs_dc = part.first == 0 && part.high == 0;
        let needs_ac = part.last > 0;
        if (needs_dc && channel.dc.is_none()) || (needs_ac && channel.ac.is_none()) {
            return Err("lacks a Huffman table");
        }
        channels.push(channel);
    }
    if channels.is_empty() {
        return Err(BAD);
    }
    Ok((channels, part))
}

/// Goes on after the restart marker that must come next.
fn restart(bits: Bits<'_>) -> Result<Bits<'_>, &'static str> {
    match bits.into_rest() {
        [0xff, 0xd0..=0xd7, rest @ ..] => Ok(Bits::new(rest)),
        _ => Err("is damaged: a restart marker is missing"),
    }
}

fn decode_block(
    bits: &mut Bits<'_>,
    channel: &mut Channel<'_>,
    part: Part,
    run: &mut u32,
    block: &mut [i16; 64],
) -> Result<(), Damaged> {
    if part.first == 0 {
        if part.high > 0 {
            block[0] |= (bits.take(1)? << part.low) as i16;
        } else {
            let size = bits.symbol(channel.dc.ok_or(Damaged)?)?;
            if size > 15 {
                return Err(Damaged);
            }
            let difference = bits.take_signed(u32::from(size))?;
            channel.predictor = channel.predictor.wrapping_add(difference);
            block[0] = (channel.predictor << part.low) as i16;
        }
    }
    if part.last == 0 {
        return Ok(());
    }
    let codes = channel.ac.ok_or(Damaged)?;
    if !part.progressive {
        sequential(bits, codes, block)
    } else if part.high == 0 {
        first_pass(bits, codes, part, run, block)
    } else {
        refinement(bits, codes, part, run, block)
    }
}

fn sequential(bits: &mut Bits<'_>, codes: &Huffman, block: &mut [i16; 64]) -> Result<(), Damaged> {
    let mut k = 1;
    while k < 64 {
        let symbol = bits.symbol(codes)?;
        let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if zeros < 15 {
                return Ok(());
            }
            k += 16;
            continue;
        }
        k += zeros;
        if k > 63 {
            return Err(Damaged);
        }
        block[natural(k)] = bits.take_signed(size)? as i16;
        k += 1;
    }
    Ok(())
}

fn first_pass(
    bits: &mut Bits<'_>,
    codes: &Huffman,
    part: Part,
    run: &mut u32,
    block: &mut [i16; 64],
) -> Result<(), Damaged> {
    if *run > 0 {
        *run -= 1;
        return Ok(());
    }
    let mut k = part.first;
    while k <= part.last {
        let symbol = bits.symbol(codes)?;
        let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if zeros < 15 {
                *run = (1 << zeros) - 1 + bits.take(zeros)? as u32;
                return Ok(());
            }
            k += 16;
            continue;
        }
        k += zeros as usize;
        if k > part.last {
            return Err(Damaged);
        }
        block[natural(k)] = (bits.take_signed(size)? << part.low) as i16;
        k += 1;
    }
    Ok(())
}

fn refinement(
    bits: &mut Bits<'_>,
    codes: &Huffman,
    part: Part,
    run: &mut u32,
    block: &mut [i16; 64],
) -> Result<(), Damaged> {
    let bit = 1i16 << part.low;
    let mut k = part.first;
    if *run == 0 {
        while k <= part.last {
            let symbol = bits.symbol(codes)?;
            let (mut zeros, size) = (u32::from(symbol >> 4), symbol & 15);
            let mut new = 0;
            match size {
                0 if zeros < 15 => {
                    // This block belongs to the run: its known coefficients are refined below.
                    *run = (1 << zeros) + bits.take(zeros)? as u32;
                    break;
                }
                0 => {}
                1 => new = if bits.take(1)? == 1 { bit } else { -bit },
                _ => return Err(Damaged),
            }
            // Known coefficients on the way are refined; zeros are counted.
            while k <= part.last {
                let coefficient = &mut block[natural(k)];
                if *coefficient != 0 {
                    refine(bits, coefficient, bit)?;
                } else if zeros == 0 {
                    *coefficient = new;
                    k += 1;
                    break;
                } else {
                    zeros -= 1;
                }
                k += 1;
            }
        }
    }
    if *run > 0 {
        while k <= part.last {
            let coefficient = &mut block[natural(k)];
            if *coefficient != 0 {
                refine(bits, coefficient, bit)?;
            }
            k += 1;
        }
        *run -= 1;
    }
    Ok(())
}

/// Adds a bit to the size of a coefficient, if the next bit says so.
fn refine(bits: &mut Bits<'_>, coefficient: &mut i16, bit: i16) -> Result<(), Damaged> {
    if bits.take(1)? == 1 && *coefficient & bit == 0 {
        let step = if *coefficient > 0 { bit } else { -bit };
        *coefficient = coefficient.wrapping_add(step);
    }
    Ok(())
}
