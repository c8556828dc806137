//! Markers, tables and the frame.

use super::blocks::Block;
use super::huffman::Huffman;

type Read<T> = Result<T, &'static str>;

const CUT: &str = "is cut: the JPEG data has no end marker";

/// The next marker and what follows it; bytes before it are passed over.
pub(super) fn next_marker(bytes: &[u8]) -> Read<(u8, &[u8])> {
    // Fill bytes are 0xff, stuffed ones 0x00, and restarts have no meaning between segments.
    let is_marker =
        |pair: &[u8; 2]| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0x01 | 0xd0..=0xd7 | 0xff);
    let at = bytes.array_windows().position(is_marker).ok_or(CUT)?;
    Ok((bytes[at + 1], &bytes[at + 2..]))
}

/// The segment whose length comes next, and what follows it.
pub(super) fn segment(bytes: &[u8]) -> Read<(&[u8], &[u8])> {
    let &[high, low, ..] = bytes else {
        return Err(CUT);
    };
    let len = usize::from(high) << 8 | usize::from(low);
    if len < 2 {
        return Err("has a segment of impossible length");
    }
    let (segment, rest) = bytes.split_at_checked(len).ok_or(CUT)?;
    Ok((&segment[2..], rest))
}

/// What segments define for those that follow.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) dc: [Option<Huffman>; 4],
    pub(super) ac: [Option<Huffman>; 4],
    /// In zigzag order.
    pub(super) quantization: [Option<[u16; 64]>; 4],
    /// MCUs between restarts; 0 for none.
    pub(super) restart_interval: usize,
    is_jfif: bool,
    adobe_transform: Option<u8>,
}

impl Tables {
    pub(super) fn read_huffman(&mut self, mut bytes: &[u8]) -> Read<()> {
        const BAD: &str = "has a damaged Huffman table";
        while let Some((&target, rest)) = bytes.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(BAD)?;
            let count = counts.iter().map(|&n| usize::from(n)).sum();
            let (symbols, rest) = rest.split_at_checked(count).ok_or(BAD)?;
            let codes = Huffman::new(counts, symbols).ok_or(BAD)?;
            let class = match target >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return Err(BAD),
            };
            *class.get_mut(usize::from(target & 15)).ok_or(BAD)? = Some(codes);
            bytes = rest;
        }
        Ok(())
    }

    pub(super) fn read_quantization(&mut self, mut bytes: &[u8]) -> Read<()> {
        const BAD: &str = "has a damaged quantization table";
        while let Some((&target, rest)) = bytes.split_first() {
            let slot = self
                .quantization
                .get_mut(usize::from(target & 15))
                .ok_or(BAD)?;
            let (table, rest) = match target >> 4 {
                0 => {
                    let (table, rest) = rest.split_first_chunk::<64>().ok_or(BAD)?;
                    (table.map(u16::from), rest)
                }
                1 => {
                    let (table, rest) = rest.split_first_chunk::<128>().ok_or(BAD)?;
                    let words = table.as_chunks::<2>().0;
                    (std::array::from_fn(|i| u16::from_be_bytes(words[i])), rest)
                }
                _ => return Err(BAD),
            };
            *slot = Some(table);
            bytes = rest;
        }
        Ok(())
    }

    pub(super) fn read_restart_interval(&mut self, bytes: &[u8]) -> Read<()> {
        let &[high, low, ..] = bytes else {
            return Err("has a damaged restart interval");
        };
        self.restart_interval = usize::from(u16::from_be_bytes([high, low]));
        Ok(())
    }

    pub(super) fn read_jfif(&mut self, bytes: &[u8]) {
        self.is_jfif |= bytes.starts_with(b"JFIF\0");
    }

    pub(super) fn read_adobe(&mut self, bytes: &[u8]) {
        if bytes.starts_with(b"Adobe") && bytes.len() >= 12 {
            self.adobe_transform = Some(bytes[11]);
        }
    }

    /// Whether three components are RGB and not YCbCr, by libjpeg's rules.
    pub(super) fn is_rgb(&self, frame: &Frame) -> bool {
        let ids = frame.components.iter().map(|component| component.id);
        match self.adobe_transform {
            _ if self.is_jfif => false,
            Some(transform) => transform == 0,
            None => ids.eq(*b"RGB"),
        }
    }
}

/// One colour plane of a frame.
pub(super) struct Component {
    pub(super) id: u8,
    /// Horizontal and vertical sampling factors.
    pub(super) sampling: [usize; 2],
    /// Samples that belong to the image.
    pub(super) width: usize,
    pub(super) height: usize,
    /// Blocks in a row and rows of blocks, filled up to whole MCUs.
    pub(super) blocks: [usize; 2],
    /// Blocks, row by row: of the whole frame, or of one row of MCUs.
    pub(super) coefficients: Vec<Block>,
    /// Progressive images: which AC coefficients of each block are not 0, bit `k` for the `k`th in
    /// the order of codes.
    pub(super) known: Vec<u64>,
    table: usize,
    /// The table in force when the component's first scan began.
    pub(super) quantization: Option<[u16; 64]>,
}

impl Component {
    /// Keeps the quantization table for the component's samples.
    pub(super) fn latch(&mut self, tables: &Tables) -> Read<()> {
        if self.quantization.is_none() {
            let table = tables.quantization[self.table];
            self.quantization = Some(table.ok_or("lacks a quantization table")?);
        }
        Ok(())
    }
}

/// Size and layout of the image.
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) progressive: bool,
    /// The largest sampling factors.
    pub(super) sampling: [usize; 2],
    /// MCUs in a row and rows of MCUs, in scans of several components.
    pub(super) mcus: [usize; 2],
    pub(super) components: Vec<Component>,
}

impl Frame {
    /// Reads a frame header; `None` for kinds that are not handled.
    pub(super) fn read(bytes: &[u8], progressive: bool) -> Read<Option<Self>> {
        const BAD: &str = "has a damaged frame header";
        let (&[precision, h1, h0, w1, w0, count], rest) = bytes.split_first_chunk().ok_or(BAD)?;
        let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        if width == 0 || precision < 8 {
            return Err(BAD);
        }
        // A height of 0 is given after the first scan.
        if precision != 8 || height == 0 || !matches!(count, 1..=4) {
            return Ok(None);
        }
        let (specs, _) = rest.as_chunks::<3>();
        let specs = specs.get(..usize::from(count)).ok_or(BAD)?;
        let factors = |packed: u8| [usize::from(packed >> 4), usize::from(packed & 15)];
        let mut sampling = [1, 1];
        for &[_, packed, table] in specs {
            let own = factors(packed);
            if own.iter().any(|factor| !(1..=4).contains(factor)) || table > 3 {
                return Err(BAD);
            }
            sampling = [sampling[0].max(own[0]), sampling[1].max(own[1])];
        }
        // The factors of a single component mean nothing.
        let alone = count == 1;
        if alone {
            sampling = [1, 1];
        }
        let (width, height) = (usize::from(width), usize::from(height));
        let mcus = [
            width.div_ceil(8 * sampling[0]),
            height.div_ceil(8 * sampling[1]),
        ];
        let components = specs.iter().map(|&[id, packed, table]| {
            let own = if alone { [1, 1] } else { factors(packed) };
            Component {
                id,
                sampling: own,
                width: (width * own[0]).div_ceil(sampling[0]),
                height: (height * own[1]).div_ceil(sampling[1]),
                blocks: [mcus[0] * own[0], mcus[1] * own[1]],
                coefficients: Vec::new(),
                known: Vec::new(),
                table: usize::from(table),
                quantization: None,
            }
        });
        let components = components.collect();
        Ok(Some(Self {
            width,
            height,
            progressive,
            sampling,
            mcus,
            components,
        }))
    }

    /// Takes the memory for the blocks of so many rows of MCUs.
    pub(super) fn allocate(&mut self, rows: usize) {
        for component in &mut self.components {
            let blocks = component.blocks[0] * component.sampling[1] * rows;
            component.coefficients = vec![[0; 64]; blocks];
            if self.progressive {
                component.known = vec![0; blocks];
            }
        }
    }

    /// Sets all coefficients to 0.
    pub(super) fn clear(&mut self) {
        for component in &mut self.components {
            component.coefficients.fill([0; 64]);
        }
    }
}
