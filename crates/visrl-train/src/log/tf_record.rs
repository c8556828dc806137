//! TFRecord: the framing of TensorBoard's event files.
//!
//! A record is its length as eight bytes, the checksum of these, the bytes themselves, and their
//! checksum; numbers are little endian, checksums are CRC-32C, rotated and shifted ("masked").

/// Bytes around the content of a record.
const AROUND: usize = 16;

/// CRC-32C as TFRecord stores it.
fn masked(bytes: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// Appends a record with this content.
pub(crate) fn push_record(out: &mut Vec<u8>, content: &[u8]) {
    let length = (content.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length));
    out.extend(content);
    out.extend(masked(content));
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A record with this content, and the bytes after it.
    Record(&'a [u8], &'a [u8]),
    /// Nothing, or the beginning of a record whose end was not written.
    End,
    /// A record whose checksum is wrong.
    Damaged,
}

/// Reads the first record.
pub(crate) fn first_record(bytes: &[u8]) -> Found<'_> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Found::End;
    };
    let Some((check, rest)) = rest.split_first_chunk::<4>() else {
        return Found::End;
    };
    if *check != masked(length) {
        return Found::Damaged;
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if bytes.len() < length.saturating_add(AROUND) {
        return Found::End;
    }
    let (content, rest) = rest.split_at(length);
    match rest.split_first_chunk::<4>() {
        Some((check, rest)) if *check == masked(content) => Found::Record(content, rest),
        _ => Found::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32C bit by bit, from its polynomial.
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1))
            })
        })
    }

    #[test]
    fn a_record_is_length_and_content_each_with_its_checksum() {
        assert_eq!(crc(b"123456789"), 0xe306_9283, "the standard's check value");
        let mut out = Vec::new();
        push_record(&mut out, b"abc");
        push_record(&mut out, b"");
        let mask = |crc: u32| crc.rotate_right(15).wrapping_add(0xa282_ead8);
        let mut wanted = vec![3, 0, 0, 0, 0, 0, 0, 0];
        wanted.extend(mask(crc(&[3, 0, 0, 0, 0, 0, 0, 0])).to_le_bytes());
        wanted.extend(b"abc");
        wanted.extend(mask(crc(b"abc")).to_le_bytes());
        assert_eq!(out[..wanted.len()], wanted);
        let Found::Record(b"abc", rest) = first_record(&out) else {
            panic!("the first record is sound");
        };
        assert_eq!(first_record(rest), Found::Record(b"", b""));
        assert_eq!(first_record(b""), Found::End);
    }

    #[test]
    fn cut_records_end_a_file_and_flipped_bytes_are_damage() {
        let mut good = Vec::new();
        push_record(&mut good, b"twelve bytes");
        for length in 0..good.len() {
            assert_eq!(first_record(&good[..length]), Found::End, "{length}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            assert_eq!(first_record(&bad), Found::Damaged, "{at}");
        }
    }
}
