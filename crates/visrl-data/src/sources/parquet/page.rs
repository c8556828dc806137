//! The headers of a parquet file's pages, read before the pages themselves: a header says how much
//! memory its page will take, and nothing else bounds it.
//!
//! Headers are written in Thrift's compact protocol; this is the structure `PageHeader` of the
//! format's `parquet.thrift`. A field of another number or type is refused, for what is read here
//! has to be what the `parquet` crate will read.

use crate::sources::parquet::thrift::{FALSE, Fault, I32, STRUCT, TRUE, Thrift};

/// What a page header promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageHeader {
    /// Bytes of the page when it is decompressed.
    pub(crate) uncompressed: u64,
    /// Bytes of the page in the file, after the header.
    pub(crate) compressed: u64,
    /// Values, nulls included.
    pub(crate) values: u64,
    /// How values are encoded, by the format's numbers.
    pub(crate) encoding: i32,
    /// Whether the page is a dictionary.
    pub(crate) dictionary: bool,
}

impl PageHeader {
    /// Reads the header at the start of some bytes; with it comes its length.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, usize), Fault> {
        let mut input = Thrift::new(bytes);
        let mut kind = None;
        let mut header = Self::default();
        let mut sizes = (None, None);
        let mut content = None;
        let mut id = 0;
        while let Some(of) = input.field(&mut id)? {
            match (id, of) {
                (1, I32) => kind = Some(input.int()?),
                (2, I32) => sizes.0 = Some(input.size()?),
                (3, I32) => sizes.1 = Some(input.size()?),
                (4, I32) => drop(input.int()?),
                (5 | 7 | 8, STRUCT) => content = Some((id, content_of(&mut input, id)?)),
                _ => return Err(Fault::Wrong),
            }
        }
        header.dictionary = kind == Some(2);
        (header.uncompressed, header.compressed) = match sizes {
            (Some(uncompressed), Some(compressed)) => (uncompressed, compressed),
            _ => return Err(Fault::Wrong),
        };
        match (kind, content) {
            (Some(0), Some((5, (values, encoding))))
            | (Some(2), Some((7, (values, encoding))))
            | (Some(3), Some((8, (values, encoding)))) => {
                (header.values, header.encoding) = (values, encoding);
            }
            _ => return Err(Fault::Wrong),
        }
        Ok((header, input.at()))
    }
}

/// The name that the format gives to an encoding of values.
pub(crate) fn encoding_name(encoding: i32) -> &'static str {
    match encoding {
        0 => "PLAIN",
        2 => "PLAIN_DICTIONARY",
        3 => "RLE",
        4 => "BIT_PACKED",
        5 => "DELTA_BINARY_PACKED",
        6 => "DELTA_LENGTH_BYTE_ARRAY",
        7 => "DELTA_BYTE_ARRAY",
        8 => "RLE_DICTIONARY",
        9 => "BYTE_STREAM_SPLIT",
        _ => "an unknown encoding",
    }
}

/// Number of values and encoding of a page. What is skipped are other counts, a truth value, and at
/// the end the statistics.
fn content_of(input: &mut Thrift<'_>, page: i16) -> Result<(u64, i32), Fault> {
    let (encoding_id, last_number, truth, statistics) = match page {
        5 => (2, 4, None, Some(5)),
        7 => (2, 2, Some(3), None),
        _ => (4, 6, Some(7), Some(8)),
    };
    let (mut values, mut encoding) = (None, None);
    let mut id = 0;
    while let Some(of) = input.field(&mut id)? {
        match (id, of) {
            (1, I32) => values = Some(input.size()?),
            (id, I32) if id == encoding_id => encoding = Some(input.int()?),
            (id, I32) if id <= last_number => drop(input.int()?),
            (id, TRUE | FALSE) if truth == Some(id) => {}
            (id, STRUCT) if statistics == Some(id) => input.skip(of, 1)?,
            _ => return Err(Fault::Wrong),
        }
    }
    values.zip(encoding).ok_or(Fault::Wrong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A field `id` after `before`, of type i32.
    fn int(step: u8, value: i32) -> Vec<u8> {
        let mut bytes = vec![step << 4 | I32];
        let mut zigzag = ((value << 1) ^ (value >> 31)) as u32;
        while zigzag >= 0x80 {
            bytes.push(zigzag as u8 | 0x80);
            zigzag >>= 7;
        }
        bytes.push(zigzag as u8);
        bytes
    }

    fn data_page(uncompressed: i32, values: i32, encoding: i32) -> Vec<u8> {
        let content = [
            int(1, values),
            int(1, encoding),
            // Statistics: a structure with one binary of two bytes.
            vec![0x3c, 0x18, 2, b'a', b'b', 0],
            vec![0],
        ];
        let fields = [
            int(1, 0),
            int(1, uncompressed),
            int(1, 77),
            vec![0x2c],
            content.concat(),
            vec![0],
        ];
        fields.concat()
    }

    #[test]
    fn a_data_page_is_read_and_what_follows_is_not() {
        let bytes = data_page(1000, 12, 8);
        let longer = [&bytes[..], b"more"].concat();
        let expected = PageHeader {
            uncompressed: 1000,
            compressed: 77,
            values: 12,
            encoding: 8,
            dictionary: false,
        };
        assert_eq!(PageHeader::parse(&longer), Ok((expected, bytes.len())));
        for cut in 0..bytes.len() {
            assert_eq!(PageHeader::parse(&bytes[..cut]), Err(Fault::Short));
        }
    }

    #[test]
    fn sizes_must_not_be_negative_and_must_be_there() {
        assert_eq!(PageHeader::parse(&data_page(-1, 12, 0)), Err(Fault::Wrong));
        assert_eq!(PageHeader::parse(&data_page(1, -12, 0)), Err(Fault::Wrong));
        assert_eq!(PageHeader::parse(&[0]), Err(Fault::Wrong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok((_, length)) = PageHeader::parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
