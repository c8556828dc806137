//! The little of Thrift's compact protocol that is needed to look at parquet's page headers and
//! schemas before the `parquet` crate decodes them.

/// The types of truth values, which are their values.
pub(crate) const TRUE: u8 = 1;
/// See [`TRUE`].
pub(crate) const FALSE: u8 = 2;
/// The type of 32-bit numbers.
pub(crate) const I32: u8 = 5;
/// The type of texts and bytes.
const BINARY: u8 = 8;
/// The type of lists.
pub(crate) const LIST: u8 = 9;
/// The type of structures.
pub(crate) const STRUCT: u8 = 12;

/// How deep structures may be nested.
const MAX_DEPTH: usize = 16;

/// The deepest schema that is read: a list of structures has four levels.
const MAX_SCHEMA_DEPTH: usize = 64;

/// Why bytes cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What they begin goes on after them.
    Short,
    /// They are not what they should be.
    Wrong,
}

/// Reads values from the start of some bytes.
pub(crate) struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Thrift<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.at).ok_or(Fault::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Fault::Wrong)
    }

    pub(crate) fn int(&mut self) -> Result<i32, Fault> {
        let value = self.varint()?;
        let value = (value >> 1) as i64 ^ -((value & 1) as i64);
        i32::try_from(value).map_err(|_| Fault::Wrong)
    }

    /// A number that is not negative.
    pub(crate) fn size(&mut self) -> Result<u64, Fault> {
        u64::try_from(self.int()?).map_err(|_| Fault::Wrong)
    }

    fn advance(&mut self, bytes: u64) -> Result<(), Fault> {
        let left = (self.bytes.len() - self.at) as u64;
        if bytes > left {
            return Err(Fault::Short);
        }
        self.at += bytes as usize;
        Ok(())
    }

    /// The type of a structure's next field, whose number follows that of the field before.
    pub(crate) fn field(&mut self, id: &mut i16) -> Result<Option<u8>, Fault> {
        let byte = self.byte()?;
        if byte & 0x0f == 0 {
            return Ok(None);
        }
        *id = match byte >> 4 {
            0 => i16::try_from(self.int()?).map_err(|_| Fault::Wrong)?,
            step => id.checked_add(i16::from(step)).ok_or(Fault::Wrong)?,
        };
        Ok(Some(byte & 0x0f))
    }

    /// Passes over a value of some type.
    pub(crate) fn skip(&mut self, of: u8, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::Wrong);
        }
        match of {
            TRUE | FALSE => Ok(()),
            3 => self.advance(1),
            4..=6 => self.varint().map(drop),
            7 => self.advance(8),
            BINARY => {
                let length = self.varint()?;
                self.advance(length)
            }
            LIST | 10 => self.skip_list(depth),
            STRUCT => {
                let mut id = 0;
                while let Some(of) = self.field(&mut id)? {
                    self.skip(of, depth + 1)?;
                }
                Ok(())
            }
            // A page header has no maps.
            _ => Err(Fault::Wrong),
        }
    }

    /// The type of a list's elements and their number.
    fn list(&mut self) -> Result<(u8, u64), Fault> {
        let byte = self.byte()?;
        let size = match byte >> 4 {
            15 => self.varint()?,
            size => u64::from(size),
        };
        // An element takes a byte at least, a truth value too.
        match size > (self.bytes.len() - self.at) as u64 {
            true => Err(Fault::Short),
            false => Ok((byte & 0x0f, size)),
        }
    }

    fn skip_list(&mut self, depth: usize) -> Result<(), Fault> {
        let (of, size) = self.list()?;
        for _ in 0..size {
            match of {
                TRUE | FALSE => self.advance(1)?,
                of => self.skip(of, depth + 1)?,
            }
        }
        Ok(())
    }
}

/// Checks that the schema in a parquet footer is not nested deeper than anyone would, and has no
/// more children than elements: the `parquet` crate goes down in it by recursion, and makes room
/// for as many children as are promised.
pub(crate) fn check_schema(footer: &[u8]) -> Result<(), Fault> {
    let mut input = Thrift::new(footer);
    let mut id = 0;
    while let Some(of) = input.field(&mut id)? {
        match (id, of) {
            (1, I32) => drop(input.int()?),
            (2, LIST) => return check_elements(&mut input),
            _ => return Err(Fault::Wrong),
        }
    }
    Err(Fault::Wrong)
}

/// The elements of a schema stand in depth-first order, each with the number of its children.
fn check_elements(input: &mut Thrift<'_>) -> Result<(), Fault> {
    let (of, size) = input.list()?;
    if of != STRUCT {
        return Err(Fault::Wrong);
    }
    let mut open: Vec<u64> = Vec::new();
    for left in (0..size).rev() {
        let mut children = 0;
        let mut id = 0;
        while let Some(of) = input.field(&mut id)? {
            match (id, of) {
                (5, I32) => children = input.size()?,
                (1..=9, I32) if id != 4 => drop(input.int()?),
                (4, BINARY) | (10, STRUCT) => input.skip(of, 1)?,
                (1..=10, _) => return Err(Fault::Wrong),
                _ => input.skip(of, 1)?,
            }
        }
        if children > left {
            return Err(Fault::Wrong);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        if let Some(siblings) = open.last_mut() {
            *siblings -= 1;
        }
        if children > 0 {
            open.push(children);
        }
        if open.len() > MAX_SCHEMA_DEPTH {
            return Err(Fault::Wrong);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A footer whose schema has groups of one child each, one in another.
    fn nested(depth: u64) -> Vec<u8> {
        let mut footer = vec![0x15, 2, 0x19, 0xf0 | STRUCT];
        let mut size = depth + 1;
        while size >= 0x80 {
            footer.push(size as u8 | 0x80);
            size >>= 7;
        }
        footer.push(size as u8);
        for _ in 0..depth {
            // A name of one letter (field 4), one child (field 5).
            footer.extend([0x48, 1, b'x', 0x15, 2, 0]);
        }
        footer.extend([0x48, 1, b'x', 0, 0]);
        footer
    }

    #[test]
    fn a_schema_may_be_nested_but_not_without_end() {
        for depth in [1, 5, 64] {
            assert_eq!(check_schema(&nested(depth)), Ok(()), "{depth}");
        }
        for depth in [66, 100_000] {
            assert_eq!(check_schema(&nested(depth)), Err(Fault::Wrong));
        }
        let footer = nested(5);
        assert_eq!(check_schema(&footer[..20]), Err(Fault::Short));
    }

    #[test]
    fn a_group_has_no_more_children_than_there_are_elements() {
        let mut footer = nested(1);
        assert_eq!(footer[8..10], [0x15, 2], "one child");
        footer[9] = 4;
        assert_eq!(check_schema(&footer), Err(Fault::Wrong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_schema_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = check_schema(&bytes);
        }
    }
}
