//! Entropy-coded scans: which blocks come when.

use super::bits::{Bits, Damaged};
use super::blocks::{self, Block, Part};
use super::header::{Component, Frame, Tables};
use super::huffman::Huffman;

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

/// A scan that is being read, one row of MCUs after the other.
pub(super) struct Scan<'a, 't> {
    bits: Bits<'a>,
    channels: Vec<Channel<'t>>,
    part: Part,
    /// MCUs in a row and rows of MCUs.
    mcus: [usize; 2],
    /// Blocks to come that have no coefficients in a progressive scan.
    run: u32,
    /// MCUs between restarts, 0 for none, and those up to the next.
    interval: usize,
    before_restart: usize,
}

impl<'a, 't> Scan<'a, 't> {
    /// Reads a scan's header; `data` follows it. From now on the scan's components have their
    /// quantization tables.
    pub(super) fn new(
        header: &[u8],
        data: &'a [u8],
        frame: &mut Frame,
        tables: &'t Tables,
    ) -> Result<Self, &'static str> {
        let (channels, part) = read_header(header, frame, tables)?;
        for channel in &channels {
            frame.components[channel.component].latch(tables)?;
        }
        let mcus = match channels.as_slice() {
            // A scan of one component has its blocks one by one, without those that fill up MCUs.
            [channel] => {
                let component = &frame.components[channel.component];
                [component.width.div_ceil(8), component.height.div_ceil(8)]
            }
            _ => frame.mcus,
        };
        Ok(Self {
            bits: Bits::new(data),
            channels,
            part,
            mcus,
            run: 0,
            interval: tables.restart_interval,
            before_restart: tables.restart_interval,
        })
    }

    /// Whether the scan holds all that there is of the image.
    pub(super) fn is_whole(&self, frame: &Frame) -> bool {
        !self.part.progressive && self.channels.len() == frame.components.len()
    }

    /// Rows of MCUs.
    pub(super) fn rows(&self) -> usize {
        self.mcus[1]
    }

    /// Reads all rows of MCUs.
    pub(super) fn read_all(&mut self, frame: &mut Frame) -> Result<(), &'static str> {
        (0..self.rows()).try_for_each(|row| self.read_row(frame, row))
    }

    /// Reads the next row of MCUs into row `row` of the frame's blocks.
    pub(super) fn read_row(&mut self, frame: &mut Frame, row: usize) -> Result<(), &'static str> {
        let single = self.channels.len() == 1;
        for column in 0..self.mcus[0] {
            if self.interval > 0 {
                if self.before_restart == 0 {
                    self.restart()?;
                }
                self.before_restart -= 1;
            }
            for channel in &mut self.channels {
                let component = &mut frame.components[channel.component];
                let [across, down] = if single { [1, 1] } else { component.sampling };
                for y in row * down..(row + 1) * down {
                    let first = y * component.blocks[0] + column * across;
                    let places = first..first + across;
                    let blocks = &mut component.coefficients[places.clone()];
                    if !self.part.progressive {
                        for block in blocks {
                            channel
                                .read_whole(&mut self.bits, block)
                                .map_err(|_| DAMAGED)?;
                        }
                        continue;
                    }
                    for (block, known) in blocks.iter_mut().zip(&mut component.known[places]) {
                        channel
                            .read_part(&mut self.bits, self.part, &mut self.run, block, known)
                            .map_err(|_| DAMAGED)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Goes on after the restart marker that must come next.
    fn restart(&mut self) -> Result<(), &'static str> {
        let [0xff, 0xd0..=0xd7, rest @ ..] = self.bits.into_rest() else {
            return Err("is damaged: a restart marker is missing");
        };
        self.bits = Bits::new(rest);
        self.run = 0;
        self.before_restart = self.interval;
        for channel in &mut self.channels {
            channel.predictor = 0;
        }
        Ok(())
    }

    /// What follows the scan.
    pub(super) fn into_rest(self) -> &'a [u8] {
        self.bits.into_rest()
    }
}

impl Channel<'_> {
    #[inline(always)]
    fn read_whole(&mut self, bits: &mut Bits<'_>, block: &mut Block) -> Result<(), Damaged> {
        let (dc, ac) = (self.dc.ok_or(Damaged)?, self.ac.ok_or(Damaged)?);
        blocks::sequential(bits, dc, ac, &mut self.predictor, block)
    }

    fn read_part(
        &mut self,
        bits: &mut Bits<'_>,
        part: Part,
        run: &mut u32,
        block: &mut Block,
        known: &mut u64,
    ) -> Result<(), Damaged> {
        if part.first == 0 {
            return blocks::progressive_dc(bits, self.dc, part, &mut self.predictor, block);
        }
        let codes = self.ac.ok_or(Damaged)?;
        if part.high == 0 {
            blocks::first_pass(bits, codes, part, run, block, known)
        } else {
            blocks::refinement(bits, codes, part, run, block, known)
        }
    }
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
